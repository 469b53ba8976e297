//! Typed looks at a merged tree. What cannot be converted is noted with its
//! key and read as its default, so that one run reports every mistake.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use model::duration::{self, GoDuration};

use super::tree::Tree;

pub(crate) struct View<'a> {
    tree: &'a Tree,
    /// What stands before a key in messages: empty, or `check[id].`.
    prefix: String,
    errors: &'a RefCell<Vec<String>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(tree: &'a Tree, errors: &'a RefCell<Vec<String>>) -> Self {
        Self { tree, prefix: String::new(), errors }
    }

    pub(crate) fn within(&self, tree: &'a Tree, prefix: String) -> Self {
        Self { tree, prefix, errors: self.errors }
    }

    pub(crate) fn error(&self, text: impl Into<String>) {
        self.errors.borrow_mut().push(text.into());
    }

    fn named(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    pub(crate) fn at(&self, path: &str) -> Option<&'a Tree> {
        self.tree.at(path)
    }

    pub(crate) fn given(&self, path: &str) -> bool {
        self.at(path).is_some()
    }

    pub(crate) fn text(&self, path: &str) -> String {
        self.opt_text(path).unwrap_or_default()
    }

    pub(crate) fn opt_text(&self, path: &str) -> Option<String> {
        match self.at(path) {
            Some(Tree::Str(s)) => Some(s.clone()),
            _ => None,
        }
    }

    /// A text that means nothing when empty.
    pub(crate) fn set_text(&self, path: &str) -> Option<String> {
        self.opt_text(path).filter(|s| !s.is_empty())
    }

    pub(crate) fn flag(&self, path: &str) -> bool {
        self.opt_flag(path).unwrap_or(false)
    }

    pub(crate) fn opt_flag(&self, path: &str) -> Option<bool> {
        match self.at(path) {
            Some(Tree::Bool(b)) => Some(*b),
            _ => None,
        }
    }

    pub(crate) fn int(&self, path: &str) -> i64 {
        match self.at(path) {
            Some(Tree::Int(i)) => *i,
            _ => 0,
        }
    }

    /// A number that cannot be negative.
    pub(crate) fn count<T: TryFrom<i64> + Default>(&self, path: &str) -> T {
        let value = self.int(path);
        if value < 0 {
            self.error(format!(
                "{} cannot be {value}. Must be greater than or equal to zero",
                self.named(path)
            ));
            return T::default();
        }
        T::try_from(value).unwrap_or_else(|_| {
            self.error(format!("{} cannot be {value}. It is too large", self.named(path)));
            T::default()
        })
    }

    pub(crate) fn float(&self, path: &str) -> f64 {
        match self.at(path) {
            Some(Tree::Float(f)) => *f,
            _ => 0.0,
        }
    }

    /// Zero if absent, wrong or negative.
    pub(crate) fn duration(&self, path: &str) -> Duration {
        self.go_duration(path).to_std()
    }

    pub(crate) fn go_duration(&self, path: &str) -> GoDuration {
        match self.at(path) {
            Some(Tree::Str(s)) => self.parse_duration(path, s),
            _ => GoDuration::ZERO,
        }
    }

    pub(crate) fn parse_duration(&self, path: &str, text: &str) -> GoDuration {
        duration::parse_go(text).unwrap_or_else(|e| {
            self.error(format!("{}: invalid duration: {text:?}: {e}", self.named(path)));
            GoDuration::ZERO
        })
    }

    pub(crate) fn opt_duration(&self, path: &str) -> Option<Duration> {
        let value = self.duration(path);
        (!value.is_zero()).then_some(value)
    }

    /// Absent unless greater than zero.
    pub(crate) fn port(&self, path: &str) -> Option<u16> {
        let value = self.int(path);
        if value > i64::from(u16::MAX) {
            self.error(format!("{}: invalid port: {value}", self.named(path)));
        }
        u16::try_from(value).ok().filter(|p| *p > 0)
    }

    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        match self.at(path) {
            Some(Tree::List(list)) => texts_of(list),
            _ => Vec::new(),
        }
    }

    pub(crate) fn list(&self, path: &str) -> &'a [Tree] {
        match self.at(path) {
            Some(Tree::List(list)) => list,
            _ => &[],
        }
    }

    pub(crate) fn map(&self, path: &str) -> Option<&'a BTreeMap<String, Tree>> {
        match self.at(path) {
            Some(Tree::Map(map)) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn text_map(&self, path: &str) -> BTreeMap<String, String> {
        let Some(map) = self.map(path) else { return BTreeMap::new() };
        map.iter()
            .filter_map(|(k, v)| match v {
                Tree::Str(s) => Some((k.clone(), s.clone())),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn free_form(&self, path: &str) -> serde_json::Value {
        match self.at(path) {
            Some(Tree::Any(value)) => value.clone(),
            _ => serde_json::Value::Null,
        }
    }

    pub(crate) fn free_forms(&self, path: &str) -> Vec<serde_json::Value> {
        self.list(path)
            .iter()
            .filter_map(|item| match item {
                Tree::Any(value) => Some(value.clone()),
                _ => None,
            })
            .collect()
    }
}

pub(crate) fn texts_of(list: &[Tree]) -> Vec<String> {
    list.iter()
        .filter_map(|item| match item {
            Tree::Str(s) => Some(s.clone()),
            _ => None,
        })
        .collect()
}
