//! Expressions bound to a schema, and their evaluation.

use regex::Regex;

use crate::ast::{Expr, Operator};
use crate::error::{FilterError, Reason};
use crate::parser::parse;
use crate::regexp;
use crate::value::{Filterable, Kind, Schema, Value};

/// An expression, checked and ready.
#[derive(Clone, Debug)]
pub struct Filter(Option<Bound>);

#[derive(Clone, Debug)]
enum Bound {
    And(Box<Bound>, Box<Bound>),
    Or(Box<Bound>, Box<Bound>),
    Not(Box<Bound>),
    Match { steps: Vec<Step>, operator: Operator, value: Operand },
}

/// One step from an entry towards the field.
#[derive(Clone, Debug)]
enum Step {
    Field(usize),
    Key(String),
}

#[derive(Clone, Debug)]
enum Operand {
    None,
    Text(String),
    Number(i64),
    Truth(bool),
    Pattern(Regex),
}

impl Filter {
    /// The filter that takes everything.
    pub const ALL: Self = Self(None);

    /// Reads an expression over entries of a schema; an empty one takes everything.
    ///
    /// # Errors
    /// When the expression is malformed, or does not fit the schema.
    pub fn parse(text: &str, schema: &'static Schema) -> Result<Self, FilterError> {
        if text.trim().is_empty() {
            return Ok(Self::ALL);
        }
        Ok(Self(Some(bind(parse(text)?, schema)?)))
    }

    /// Whether it takes everything.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether an entry is wanted. It must be of the type whose schema the filter was read with.
    pub fn matches(&self, entry: &dyn Filterable) -> bool {
        self.0.as_ref().is_none_or(|bound| bound.holds(entry))
    }
}

fn bind(expr: Expr, schema: &'static Schema) -> Result<Bound, Reason> {
    Ok(match expr {
        Expr::And(a, b) => Bound::And(Box::new(bind(*a, schema)?), Box::new(bind(*b, schema)?)),
        Expr::Or(a, b) => Bound::Or(Box::new(bind(*a, schema)?), Box::new(bind(*b, schema)?)),
        Expr::Not(inner) => Bound::Not(Box::new(bind(*inner, schema)?)),
        Expr::Match { selector, operator, value } => {
            let (steps, kind) = resolve(&selector, schema)?;
            let value = operand(&selector, kind, operator, value)?;
            Bound::Match { steps, operator, value }
        }
    })
}

/// The steps to a field and what it holds.
fn resolve(selector: &[String], schema: &'static Schema) -> Result<(Vec<Step>, Kind), Reason> {
    let invalid = || Reason::Selector(selector.join("."));
    let mut steps = Vec::with_capacity(selector.len());
    let mut kind = Kind::Object(schema);
    for part in selector {
        kind = match kind {
            Kind::Object(schema) | Kind::Objects(schema) => {
                let at = schema.fields.iter().position(|(name, _)| name == part).ok_or_else(invalid)?;
                steps.push(Step::Field(at));
                schema.fields[at].1
            }
            Kind::Map => {
                steps.push(Step::Key(part.clone()));
                Kind::Text
            }
            Kind::ObjectMap(schema) => {
                steps.push(Step::Key(part.clone()));
                Kind::Object(schema)
            }
            Kind::Text | Kind::Number | Kind::Truth | Kind::Texts => return Err(invalid()),
        };
    }
    Ok((steps, kind))
}

/// The value in the form that the field is compared with, if operator and field fit.
fn operand(selector: &[String], kind: Kind, operator: Operator, value: String) -> Result<Operand, Reason> {
    use Operator::{Empty, Equal, In, Matches, NotEmpty, NotEqual, NotIn, NotMatches};
    let name = || selector.join(".");
    match (kind, operator) {
        (Kind::Text, Equal | NotEqual | In | NotIn) => Ok(Operand::Text(value)),
        (Kind::Text, Matches | NotMatches) => regexp::compile(&value)
            .map(Operand::Pattern)
            .map_err(|reason| Reason::Pattern { pattern: value.clone(), reason }),
        (Kind::Number, Equal | NotEqual) => value
            .parse()
            .map(Operand::Number)
            .map_err(|_| Reason::Number { value: value.clone(), selector: name() }),
        (Kind::Truth, Equal | NotEqual) => match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Operand::Truth(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Operand::Truth(false)),
            _ => Err(Reason::Truth { value, selector: name() }),
        },
        (Kind::Texts | Kind::Map | Kind::ObjectMap(_), In | NotIn) => Ok(Operand::Text(value)),
        (Kind::Texts | Kind::Map | Kind::ObjectMap(_) | Kind::Objects(_), Empty | NotEmpty) => {
            Ok(Operand::None)
        }
        _ => Err(Reason::Operator { operator: operator.name(), selector: name() }),
    }
}

impl Bound {
    fn holds(&self, entry: &dyn Filterable) -> bool {
        match self {
            Self::And(a, b) => a.holds(entry) && b.holds(entry),
            Self::Or(a, b) => a.holds(entry) || b.holds(entry),
            Self::Not(inner) => !inner.holds(entry),
            Self::Match { steps, operator, value } => walk(Value::Object(entry), steps, *operator, value),
        }
    }
}

/// Follows the steps; of a list of entries one that is as asked is enough.
fn walk(found: Value<'_>, steps: &[Step], operator: Operator, value: &Operand) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return compare(found, operator, value);
    };
    match (found, step) {
        (Value::Object(entry), Step::Field(at)) => walk(entry.field(*at), rest, operator, value),
        (Value::Objects(entries), Step::Field(at)) => {
            entries.any(&|entry| walk(entry.field(*at), rest, operator, value))
        }
        (Value::Map(map), Step::Key(key)) => match map.get(key) {
            Some(text) => walk(Value::Text(text), rest, operator, value),
            None => operator.is_denial(),
        },
        (Value::ObjectMap(map), Step::Key(key)) => match map.get(key) {
            Some(entry) => walk(Value::Object(entry), rest, operator, value),
            None => operator.is_denial(),
        },
        _ => operator.is_denial(),
    }
}

fn compare(found: Value<'_>, operator: Operator, value: &Operand) -> bool {
    let positive = match (found, value) {
        (Value::Text(text), Operand::Text(value)) => match operator {
            Operator::In | Operator::NotIn => text.contains(value.as_str()),
            _ => text == value,
        },
        (Value::Text(text), Operand::Pattern(pattern)) => pattern.is_match(text),
        (Value::Number(number), Operand::Number(value)) => number == *value,
        (Value::Truth(truth), Operand::Truth(value)) => truth == *value,
        (Value::Texts(texts), Operand::Text(value)) => texts.iter().any(|text| text == value),
        (Value::Map(map), Operand::Text(value)) => map.contains_key(value),
        (Value::ObjectMap(map), Operand::Text(value)) => map.get(value).is_some(),
        // Emptiness: the positive question is whether there is something.
        (Value::Texts(texts), Operand::None) => !texts.is_empty(),
        (Value::Map(map), Operand::None) => !map.is_empty(),
        (Value::Objects(entries), Operand::None) => !entries.is_empty(),
        (Value::ObjectMap(map), Operand::None) => !map.is_empty(),
        _ => false,
    };
    positive != operator.is_denial()
}
