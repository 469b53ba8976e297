//! The `?pretty` form.

const STEP: &[u8] = b"    ";

/// Indents compact JSON by four spaces a level and ends it with a line feed.
pub fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut at = 0;
    while let Some(&byte) = compact.get(at) {
        at += 1;
        if in_string {
            out.push(byte);
            match byte {
                b'\\' => {
                    out.extend(compact.get(at));
                    at += 1;
                }
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if let Some(&close @ (b'}' | b']')) = compact.get(at) {
                    out.push(close);
                    at += 1;
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
    }
    out.push(b'\n');
    out
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    for _ in 0..depth {
        out.extend_from_slice(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let text = |compact: &str| String::from_utf8(indent(compact.as_bytes())).unwrap();
        assert_eq!(text(r#"["127.0.1.1:8300"]"#), "[\n    \"127.0.1.1:8300\"\n]\n");
        assert_eq!(text(r#"{"consul":[]}"#), "{\n    \"consul\": []\n}\n");
        assert_eq!(
            text(r#"{"a":{"b":"x:,{\"}"},"c":[1,2]}"#),
            "{\n    \"a\": {\n        \"b\": \"x:,{\\\"}\"\n    },\n    \"c\": [\n        1,\n        2\n    ]\n}\n"
        );
        assert_eq!(text("true"), "true\n");
    }
}
