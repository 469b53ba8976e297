//! Tokens to tree, by recursive descent with a depth limit.

use std::collections::HashMap;

use crate::lexer::{Lexer, Token};
use crate::{Entry, Error, MAX_DEPTH, Node, Object, Pos, Value};

pub(crate) fn parse(text: &str) -> Result<Object, Error> {
    let mut lexer = Lexer::new(text);
    let (token, pos) = lexer.next()?;
    let mut parser = Parser { lexer, token, pos };
    parser.items(Token::End, 0)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    pos: Pos,
}

impl Parser<'_> {
    /// Steps to the next token and hands out the present one.
    fn take(&mut self) -> Result<(Token, Pos), Error> {
        let (token, pos) = self.lexer.next()?;
        Ok((std::mem::replace(&mut self.token, token), std::mem::replace(&mut self.pos, pos)))
    }

    fn unexpected(&self, wanted: &str) -> Error {
        Error::at(self.pos, format!("expected: {wanted} got: {}", self.token.describe()))
    }

    fn check_depth(&self, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::at(self.pos, format!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(())
    }

    /// Items up to `end`, which is left where it is.
    fn items(&mut self, end: Token, depth: usize) -> Result<Object, Error> {
        self.check_depth(depth)?;
        let mut entries = Entries::default();
        while self.token != end {
            let item = self.item(depth)?;
            entries.add(item);
            // A comma between items is allowed, and not needed.
            if self.token == Token::Comma {
                self.take()?;
            }
        }
        Ok(Object::from_entries(entries.list))
    }

    fn item(&mut self, depth: usize) -> Result<Entry, Error> {
        let mut keys: Vec<(String, Pos)> = Vec::new();
        loop {
            match &self.token {
                Token::Ident(_) | Token::String(_) => {
                    // Every label is a level of the tree.
                    self.check_depth(depth + keys.len())?;
                    let (Token::Ident(key) | Token::String(key), pos) = self.take()? else {
                        continue;
                    };
                    keys.push((key, pos));
                }
                Token::Assign if keys.len() == 1 => {
                    self.take()?;
                    let value = self.value(depth + keys.len())?;
                    return Ok(nest(keys, value));
                }
                Token::Assign if keys.len() > 1 => {
                    return Err(Error::at(self.pos, "nested object expected: LBRACE got: ASSIGN"));
                }
                Token::LeftBrace if !keys.is_empty() => {
                    let object = self.object(depth + keys.len())?;
                    return Ok(nest(keys, object));
                }
                _ if keys.is_empty() => return Err(self.unexpected("IDENT | STRING")),
                Token::End => {
                    let (key, pos) = &keys[0];
                    return Err(Error::at(*pos, format!("key {key:?} has no value")));
                }
                _ => return Err(self.unexpected("IDENT | STRING | ASSIGN | LBRACE")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, Error> {
        let (_, pos) = self.take()?;
        let object = self.items(Token::RightBrace, depth)?;
        self.take()?;
        Ok(Node { value: Value::Object(object), pos })
    }

    fn value(&mut self, depth: usize) -> Result<Node, Error> {
        self.check_depth(depth)?;
        match self.token {
            Token::LeftBrace => return self.object(depth),
            Token::LeftBracket => return self.list(depth),
            _ => {}
        }
        if !matches!(
            self.token,
            Token::Int(_) | Token::Float(_) | Token::Bool(_) | Token::String(_) | Token::Heredoc(_)
        ) {
            return Err(Error::at(self.pos, format!("Unknown token: {}", self.token.describe())));
        }
        let (token, pos) = self.take()?;
        let value = match token {
            Token::Int(n) => Value::Int(n),
            Token::Float(n) => Value::Float(n),
            Token::Bool(b) => Value::Bool(b),
            Token::String(s) | Token::Heredoc(s) => Value::String(s),
            other => {
                return Err(Error::at(pos, format!("Unknown token: {}", other.describe())));
            }
        };
        Ok(Node { value, pos })
    }

    fn list(&mut self, depth: usize) -> Result<Node, Error> {
        let (_, pos) = self.take()?;
        let mut items = Vec::new();
        while self.token != Token::RightBracket {
            items.push(self.value(depth + 1)?);
            match self.token {
                Token::Comma => {
                    self.take()?;
                }
                Token::RightBracket => {}
                _ => {
                    return Err(Error::at(
                        self.pos,
                        format!(
                            "error parsing list, expected comma or list end, got: {}",
                            self.token.describe()
                        ),
                    ));
                }
            }
        }
        self.take()?;
        Ok(Node { value: Value::List(items), pos })
    }
}

/// `a "b" "c" {..}` as the entry a = [{b = [{c = [{..}]}]}].
fn nest(keys: Vec<(String, Pos)>, value: Node) -> Entry {
    let mut keys = keys.into_iter().rev();
    let entry = |(key, pos): (String, Pos), value: Node| {
        let block = matches!(value.value, Value::Object(_));
        let value = if block { Node { pos: value.pos, value: Value::List(vec![value]) } } else { value };
        Entry { key, pos, value, block }
    };
    // The caller has at least one key; an empty name would be the only sane answer to none.
    let mut built = entry(keys.next().unwrap_or_default(), value);
    for key in keys {
        let pos = built.pos;
        let inner = Object::from_entries(vec![built]);
        built = entry(key, Node { value: Value::Object(inner), pos });
    }
    built
}

/// Collects items: later values replace, blocks of one key gather.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    index: HashMap<String, usize>,
}

impl Entries {
    fn add(&mut self, item: Entry) {
        let Some(&at) = self.index.get(&item.key) else {
            self.index.insert(item.key.clone(), self.list.len());
            self.list.push(item);
            return;
        };
        let existing = &mut self.list[at];
        match (&mut existing.value.value, item.value.value) {
            (Value::List(have), Value::List(new)) if existing.block && item.block => {
                have.extend(new);
            }
            (_, value) => {
                existing.value.value = value;
                existing.value.pos = item.value.pos;
                existing.block = item.block;
            }
        }
    }
}
