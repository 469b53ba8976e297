//! One file's text, read against the schema into a tree of canonical keys;
//! and how trees merge.

use std::collections::BTreeMap;

use hcl::{Object, Value as Parsed};

use super::schema::{self, Fate, Field, Kind, ROOT};

/// A value whose type the schema has already checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Tree>),
    /// A struct of the schema (canonical keys) or a map with the user's keys.
    Map(BTreeMap<String, Tree>),
    /// Free form, kept as written.
    Any(serde_json::Value),
}

impl Tree {
    pub(crate) fn empty() -> Self {
        Tree::Map(BTreeMap::new())
    }

    /// The value at a dotted path of canonical keys.
    pub(crate) fn at(&self, path: &str) -> Option<&Tree> {
        let Tree::Map(map) = self else { return None };
        // A key may contain a dot itself (disable_compat_1.9).
        if let Some(found) = map.get(path) {
            return Some(found);
        }
        let (first, rest) = path.split_once('.')?;
        map.get(first)?.at(rest)
    }

    pub(crate) fn set(&mut self, path: &str, value: Tree) {
        let Tree::Map(map) = self else { return };
        match path.split_once('.') {
            Some((first, rest)) => map.entry(first.to_owned()).or_insert_with(Tree::empty).set(rest, value),
            None => {
                map.insert(path.to_owned(), value);
            }
        }
    }
}

/// What reading one source gave, errors included: one file may have several.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub tree: Option<Tree>,
    pub warnings: Vec<String>,
    /// Wrong types, each naming its key.
    pub type_errors: Vec<String>,
    pub unknown: Vec<String>,
}

/// Reads a parsed file. A file's `service` and `check` move into the lists
/// `services` and `checks`, because each file may have one and all of them count.
pub(crate) fn read(object: &Object) -> Read {
    let mut reader = Reader { out: Read::default() };
    let mut tree = reader.fields(ROOT, object, "", false, false);
    for (one, many) in [("service", "services"), ("check", "checks")] {
        if let Some(single) = tree.remove(one) {
            match tree.entry(many.to_owned()).or_insert_with(|| Tree::List(Vec::new())) {
                Tree::List(list) => list.push(single),
                other => *other = Tree::List(vec![single]),
            }
        }
    }
    reader.out.tree = Some(Tree::Map(tree));
    reader.out
}

struct Reader {
    out: Read,
}

impl Reader {
    fn fields(
        &mut self,
        fields: &'static [Field],
        object: &Object,
        path: &str,
        definition: bool,
        warned: bool,
    ) -> BTreeMap<String, Tree> {
        let mut map = BTreeMap::new();
        for entry in object.entries() {
            let Some(field) = schema::find(fields, &entry.key, definition) else {
                self.out.unknown.push(join(path, &entry.key));
                continue;
            };
            let path = join(path, field.key);
            let value = &entry.value.value;
            if matches!(value, Parsed::Null) {
                continue;
            }
            let warns = !warned && self.warn_of(field, &path, value);
            let definition = definition || matches!(field.key, "service" | "services" | "check" | "checks");
            if let Some(read) = self.value(&field.kind, value, &path, definition, warned || warns) {
                map.insert(field.key.to_owned(), read);
            }
        }
        map
    }

    /// Says what the user should know of a key; whether something was said.
    fn warn_of(&mut self, field: &Field, path: &str, value: &Parsed) -> bool {
        let text = match field.fate {
            Fate::Used => return false,
            // A feature that is switched off is no disappointment.
            Fate::NotYet | Fate::Enterprise
                if matches!(value, Parsed::Bool(false) | Parsed::Int(i64::MIN..=0)) =>
            {
                return false;
            }
            Fate::Deprecated(instead) => {
                format!("The '{path}' field is deprecated. Use the '{instead}' field instead.")
            }
            Fate::Enterprise => {
                format!("{path:?} is a Consul Enterprise configuration and will have no effect")
            }
            Fate::NotYet => {
                format!("config key {path:?} is accepted but has no effect in this version")
            }
            Fate::Fixed => format!("config key {path:?} cannot be set by users and is ignored"),
        };
        self.out.warnings.push(text);
        true
    }

    fn mismatch(&mut self, path: &str, wanted: &str, value: &Parsed) -> Option<Tree> {
        self.out
            .type_errors
            .push(format!("'{path}' expected type '{wanted}', got unconvertible type '{}'", value.kind()));
        None
    }

    fn value(
        &mut self,
        kind: &'static Kind,
        value: &Parsed,
        path: &str,
        definition: bool,
        warned: bool,
    ) -> Option<Tree> {
        let single = |value: &Parsed| -> Option<Parsed> {
            match value {
                Parsed::List(l) => match l.as_slice() {
                    [only] => Some(only.value.clone()),
                    _ => None,
                },
                _ => None,
            }
        };
        let is_list = matches!(kind, Kind::StrList | Kind::AnyList | Kind::StructList(_));
        // A list of one stands for its element wherever no list is wanted: that is how blocks are written.
        if !is_list && let Some(only) = single(value) {
            return self.value(kind, &only, path, definition, warned);
        }
        match kind {
            Kind::Str => match value {
                Parsed::String(s) => Some(Tree::Str(s.clone())),
                other => self.mismatch(path, "string", other),
            },
            Kind::Bool => match value {
                Parsed::Bool(b) => Some(Tree::Bool(*b)),
                other => self.mismatch(path, "bool", other),
            },
            Kind::Int => match value {
                Parsed::Int(i) => Some(Tree::Int(*i)),
                Parsed::Float(f) => Some(Tree::Int(*f as i64)),
                other => self.mismatch(path, "int", other),
            },
            Kind::Uint => match value {
                Parsed::Int(i) if *i < 0 => {
                    self.out.type_errors.push(format!("cannot parse '{path}', {i} overflows uint"));
                    None
                }
                Parsed::Int(i) => Some(Tree::Int(*i)),
                Parsed::Float(f) if *f >= 0.0 => Some(Tree::Int(*f as i64)),
                other => self.mismatch(path, "uint", other),
            },
            Kind::Float => match value {
                Parsed::Int(i) => Some(Tree::Float(*i as f64)),
                Parsed::Float(f) => Some(Tree::Float(*f)),
                other => self.mismatch(path, "float64", other),
            },
            Kind::StrList => self.list(value, path, |reader, item, path| {
                reader.value(&Kind::Str, item, path, definition, warned)
            }),
            Kind::AnyList => self.list(value, path, |_, item, _| Some(Tree::Any(free_form(item)))),
            Kind::Any => match value {
                Parsed::Object(_) => Some(Tree::Any(free_form(value))),
                other => self.not_a_map(path, other),
            },
            Kind::StrMap => self.map(value, path, |reader, item, path| {
                reader.value(&Kind::Str, item, path, definition, warned)
            }),
            Kind::StrListMap => self.map(value, path, |reader, item, path| {
                reader.value(&Kind::StrList, item, path, definition, warned)
            }),
            Kind::Struct(fields) => match value {
                Parsed::Object(o) => Some(Tree::Map(self.fields(fields, o, path, definition, warned))),
                other => self.not_a_map(path, other),
            },
            Kind::StructList(fields) => {
                // A block that is not repeated, or an object where JSON should have a list of one.
                if let Parsed::Object(o) = value {
                    return Some(Tree::List(vec![Tree::Map(
                        self.fields(fields, o, path, definition, warned),
                    )]));
                }
                self.list(value, path, |reader, item, path| match item {
                    Parsed::Object(o) => Some(Tree::Map(reader.fields(fields, o, path, definition, warned))),
                    other => reader.not_a_map(path, other),
                })
            }
            Kind::StructMap(fields) => self.map(value, path, |reader, item, path| {
                let item = single(item).unwrap_or_else(|| item.clone());
                match &item {
                    Parsed::Object(o) => Some(Tree::Map(reader.fields(fields, o, path, definition, warned))),
                    other => reader.not_a_map(path, other),
                }
            }),
        }
    }

    fn not_a_map(&mut self, path: &str, value: &Parsed) -> Option<Tree> {
        self.out.type_errors.push(format!("'{path}' expected a map, got '{}'", value.kind()));
        None
    }

    fn list(
        &mut self,
        value: &Parsed,
        path: &str,
        mut each: impl FnMut(&mut Self, &Parsed, &str) -> Option<Tree>,
    ) -> Option<Tree> {
        let Parsed::List(items) = value else {
            self.out
                .type_errors
                .push(format!("'{path}': source data must be an array or slice, got {}", value.kind()));
            return None;
        };
        let mut list = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            list.extend(each(self, &item.value, &format!("{path}[{i}]")));
        }
        Some(Tree::List(list))
    }

    fn map(
        &mut self,
        value: &Parsed,
        path: &str,
        mut each: impl FnMut(&mut Self, &Parsed, &str) -> Option<Tree>,
    ) -> Option<Tree> {
        let Parsed::Object(object) = value else {
            return self.not_a_map(path, value);
        };
        let mut map = BTreeMap::new();
        for entry in object.entries() {
            let value = &entry.value.value;
            if let Some(read) = each(self, value, &format!("{path}[{}]", entry.key)) {
                map.insert(entry.key.clone(), read);
            }
        }
        Some(Tree::Map(map))
    }
}

/// Free-form values as JSON. Blocks, being lists of one object, become that object.
fn free_form(value: &Parsed) -> serde_json::Value {
    match value {
        Parsed::Object(o) => serde_json::Value::Object(
            o.entries().iter().map(|e| (e.key.clone(), free_form(&e.value.value))).collect(),
        ),
        Parsed::List(items) => match items.as_slice() {
            [only] if matches!(only.value, Parsed::Object(_)) => free_form(&only.value),
            items => items.iter().map(|n| free_form(&n.value)).collect(),
        },
        other => other.to_json(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Lays `over` on `base`: scalars replace, lists append, maps and structs join key by key.
/// Entries of a map with the user's keys replace each other whole.
pub(crate) fn merge(base: &mut Tree, over: Tree) {
    merge_fields(ROOT, base, over);
}

fn merge_fields(fields: &'static [Field], base: &mut Tree, over: Tree) {
    let (Tree::Map(base), Tree::Map(over)) = (base, over) else { return };
    for (key, value) in over {
        let kind = fields.iter().find(|f| f.key == key).map(|f| &f.kind);
        let Some(existing) = base.get_mut(&key) else {
            base.insert(key, value);
            continue;
        };
        match (kind, existing, value) {
            (Some(Kind::Struct(inner)), existing, value) => merge_fields(inner, existing, value),
            (_, Tree::List(have), Tree::List(new)) => have.extend(new),
            (_, Tree::Map(have), Tree::Map(new)) => have.extend(new),
            (_, Tree::Any(serde_json::Value::Object(have)), Tree::Any(serde_json::Value::Object(new))) => {
                have.extend(new);
            }
            (_, existing, value) => *existing = value,
        }
    }
}
