//! What the language is, by example.

use hcl::parse;
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(text: &str) -> Value {
    parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}")).to_json()
}

fn refuse(text: &str) -> String {
    parse(text).map(|o| panic!("{text:?} was read as {}", o.to_json())).unwrap_err().to_string()
}

#[test]
fn forms_that_are_read() {
    let cases = [
        ("", json!({})),
        (" \n# nothing\n// here\n/* at\nall */", json!({})),
        ("server = true", json!({"server": true})),
        (r#""server" = true"#, json!({"server": true})),
        (r#"ports { "http" = 8500 }"#, json!({"ports": [{"http": 8500}]})),
        (r#"datacenter = "dc7" server = true"#, json!({"datacenter": "dc7", "server": true})),
        ("a = 1, b = 2", json!({"a": 1, "b": 2})),
        ("a = 1\na = 2", json!({"a": 2})),
        ("a = 0x1F", json!({"a": 31})),
        ("a = 010", json!({"a": 8})),
        ("a = -12", json!({"a": -12})),
        ("a = 1.5", json!({"a": 1.5})),
        ("a = 1e3", json!({"a": 1000.0})),
        ("a = -1.5E-2", json!({"a": -0.015})),
        ("a = [1, 2, ]", json!({"a": [1, 2]})),
        ("a = []", json!({"a": []})),
        ("a = [[1], [\"x\"]]", json!({"a": [[1], ["x"]]})),
        ("a = [{ b = 1 }, { b = 2 }]", json!({"a": [{"b": 1}, {"b": 2}]})),
        ("a { }", json!({"a": [{}]})),
        ("a = { b = 1 }", json!({"a": [{"b": 1}]})),
        ("a { b = 1 }\na { c = 2 }", json!({"a": [{"b": 1}, {"c": 2}]})),
        (
            r#"key "a" { policy = "read" } key "b" { policy = "write" }"#,
            json!({"key": [{"a": [{"policy": "read"}]}, {"b": [{"policy": "write"}]}]}),
        ),
        (r#"a "b" "c" { d = 1 }"#, json!({"a": [{"b": [{"c": [{"d": 1}]}]}]})),
        ("a-b = 1\nc.d = 2\n_e = 3", json!({"a-b": 1, "c.d": 2, "_e": 3})),
        (r#"a = "x${env.HOME}y""#, json!({"a": "x${env.HOME}y"})),
        (r#"a = "${f("q")}""#, json!({"a": "${f(\"q\")}"})),
        (r#"a = "tab\t quote\" back\\ \u00e9 \x41 \101""#, json!({"a": "tab\t quote\" back\\ \u{e9} A A"})),
        ("a = <<EOF\none\n  two\nEOF\nb = 1", json!({"a": "one\n  two\n", "b": 1})),
        ("a = <<-EOF\n    one\n      two\n    EOF\nb = 1", json!({"a": "one\n  two\n", "b": 1})),
        ("a = <<-EOF\n  one\n    EOF\n", json!({"a": "  one\n"})),
        ("a = <<EOF\nEOF\n", json!({"a": ""})),
        ("a = [<<EOF\nx\nEOF\n, 2]", json!({"a": ["x\n", 2]})),
        ("a = 1 # end\nb = 2 // end", json!({"a": 1, "b": 2})),
        ("\u{feff}a = 1", json!({"a": 1})),
        ("schlüssel = \"ü\"", json!({"schlüssel": "ü"})),
        (r#" {"a": [1, null], "b": {"c": true}}"#, json!({"a": [1, null], "b": {"c": true}})),
    ];
    for (text, want) in cases {
        assert_eq!(read(text), want, "{text:?}");
    }
}

#[test]
fn forms_that_are_refused_say_where() {
    let cases = [
        (r#"a : "1""#, "1:3"),
        ("a = ", "1:5"),
        ("a = b", "1:5"),
        ("\na", "2:1"),
        ("a = 1 }", "1:7"),
        ("a {", "1:4"),
        ("a = [1 2]", "1:8"),
        ("a = [1", "1:7"),
        ("a = [,]", "1:6"),
        ("1 = 2", "1:1"),
        ("true = 2", "1:1"),
        ("a = \"x\ny\"", "1:5"),
        ("a = \"x", "1:5"),
        (r#"a = "\q""#, "1:6"),
        ("a = 0x", "1:5"),
        ("a = 1x", "1:5"),
        ("a = -", "1:5"),
        ("a = 99999999999999999999", "1:5"),
        ("a = 1e999", "1:5"),
        ("a / b", "1:3"),
        ("/* open", "1:1"),
        ("a = <<EOF\nx", "1:5"),
        ("a = <<\nx", "1:5"),
        ("a = <EOF", "1:5"),
        (r#"a "b" = { }"#, "1:7"),
        ("{\"a\": }", "1:7"),
        ("§ = 1", "1:1"),
    ];
    for (text, place) in cases {
        let error = refuse(text);
        assert!(error.starts_with(&format!("At {place}: ")), "{text:?}: {error}");
    }
}

#[test]
fn places_are_kept() {
    let object = parse("a = 1\n  bee { c = \"x\" }").expect("valid");
    let bee = &object.entries()[1];
    assert_eq!((bee.pos.line, bee.pos.column), (2, 3));
    let inner = bee.value.value.as_single_object().expect("one block");
    let c = inner.get("c").expect("c");
    assert_eq!((c.pos.line, c.pos.column), (2, 13));
}

#[test]
fn nesting_is_limited() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        "a {".repeat(100_000),
        "\"a\" ".repeat(100_000),
        format!("{{\"a\": {}", "[".repeat(100_000)),
    ] {
        refuse(&text);
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn any_pieces_are_answered(pieces in prop::collection::vec(
        prop::sample::select(vec![
            "a", "\"", "{", "}", "[", "]", ",", "=", "<<E\n", "<<-E\n", "\nE\n", "${", "#", "/*",
            "*/", "0x", "1e", "-", "\\", "\n", " ", "true", "\u{fc}",
        ]), 0..40)) {
        let _ = parse(&pieces.concat());
    }

    /// Every JSON object of numbers and strings comes back from its HCL spelling.
    #[test]
    fn attributes_come_back(entries in prop::collection::btree_map(
        "[a-z_][a-z0-9_.-]{0,8}", (any::<i64>(), "[^$]*"), 0..8)) {
        let mut text = String::new();
        let mut want = serde_json::Map::new();
        for (key, (number, string)) in &entries {
            let quoted: String = string.chars().flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                '\n' => vec!['\\', 'n'],
                c => vec![c],
            }).collect();
            text.push_str(&format!("\"{key}\" = {{ n = {number} s = \"{quoted}\" }}\n"));
            want.insert(key.clone(), json!([{"n": number, "s": string}]));
        }
        prop_assert_eq!(read(&text), Value::Object(want));
    }
}
