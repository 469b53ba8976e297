//! The tree a text is read into.

/// A place in the text; lines and columns (in characters) count from 1.
/// JSON texts do not remember places: there both are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pos {
    pub line: u32,
    pub column: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub pos: Pos,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// JSON only; HCL has no word for it.
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Node>),
    Object(Object),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    /// Where the key stood (its first occurrence, for repeated blocks).
    pub pos: Pos,
    pub value: Node,
    /// Written as an object, so that another one of the same key joins it.
    pub(crate) block: bool,
}

/// Keys in the order of the text, each once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    entries: Vec<Entry>,
}

impl Object {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn from_entries(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// The same tree as JSON, places forgotten.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Object(
            self.entries.iter().map(|e| (e.key.clone(), e.value.value.to_json())).collect(),
        )
    }
}

impl Value {
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => (*i).into(),
            Value::Float(f) => (*f).into(),
            Value::String(s) => s.clone().into(),
            Value::List(l) => l.iter().map(|n| n.value.to_json()).collect(),
            Value::Object(o) => o.to_json(),
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The object itself, or the only object of a list: how readers that
    /// expect one block see it.
    pub fn as_single_object(&self) -> Option<&Object> {
        match self {
            Value::Object(o) => Some(o),
            Value::List(l) => match l.as_slice() {
                [Node { value: Value::Object(o), .. }] => Some(o),
                _ => None,
            },
            _ => None,
        }
    }

    /// All objects of a value: one, or those of a list. Empty if there is
    /// something else among them.
    pub fn objects(&self) -> Vec<&Object> {
        match self {
            Value::Object(o) => vec![o],
            Value::List(l) => {
                let found: Vec<&Object> = l
                    .iter()
                    .filter_map(|n| match &n.value {
                        Value::Object(o) => Some(o),
                        _ => None,
                    })
                    .collect();
                if found.len() == l.len() { found } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    /// The Go name of the value's kind, as error messages of the ecosystem spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "slice",
            Value::Object(_) => "map",
        }
    }
}
