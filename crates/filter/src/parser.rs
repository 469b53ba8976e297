//! The grammar, by recursive descent:
//!
//! ```text
//! or     := and ("or" and)*
//! and    := not ("and" not)*
//! not    := "not" not | "(" or ")" | match
//! match  := selector ("==" | "!=" | ["not"] ("contains" | "matches")) value
//!         | selector "is" ["not"] "empty"
//!         | value ["not"] "in" selector
//! ```

use crate::ast::{Expr, Operator};
use crate::error::Reason;
use crate::lexer::{Kind, Token, tokens};

/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 64;
/// Longest expression, bytes.
const MAX_LEN: usize = 64 * 1024;

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Expr, Reason> {
    if text.len() > MAX_LEN {
        return Err(Reason::TooLong);
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let expr = parser.or()?;
    match parser.peek() {
        Kind::End => Ok(expr),
        _ => Err(parser.unexpected("\"and\", \"or\" or the end")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

/// The first part of a match, before its operator tells what it is.
struct Operand {
    at: usize,
    /// The parts of a selector; empty when it cannot be one.
    path: Vec<String>,
    /// The text of a value.
    value: String,
}

impl Parser {
    fn peek(&self) -> &Kind {
        self.tokens.get(self.next).map_or(&Kind::End, |token| &token.kind)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |token| token.at)
    }

    fn advance(&mut self) -> Kind {
        let kind = self.peek().clone();
        self.next += 1;
        kind
    }

    fn unexpected(&self, expected: &'static str) -> Reason {
        Reason::Unexpected { found: self.peek().describe(), at: self.at(), expected }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(found) if found == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next += 1;
        }
        found
    }

    fn or(&mut self) -> Result<Expr, Reason> {
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Reason> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Reason> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        let expr = if *self.peek() == Kind::Open {
            self.next += 1;
            let inner = self.or()?;
            if *self.peek() != Kind::Close {
                return Err(self.unexpected("\")\""));
            }
            self.next += 1;
            inner
        } else if self.is_word("not") && !self.names_operand() {
            self.next += 1;
            Expr::Not(Box::new(self.not()?))
        } else {
            self.matching()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Whether the word at hand is a selector or value although it looks like a keyword.
    fn names_operand(&self) -> bool {
        matches!(
            self.tokens.get(self.next + 1).map(|token| &token.kind),
            Some(Kind::Equal | Kind::NotEqual | Kind::OpenIndex)
        )
    }

    fn matching(&mut self) -> Result<Expr, Reason> {
        let first = self.operand("a selector, a value, \"not\" or \"(\"")?;
        match self.peek() {
            Kind::Equal => {
                self.next += 1;
                self.with_value(first, Operator::Equal)
            }
            Kind::NotEqual => {
                self.next += 1;
                self.with_value(first, Operator::NotEqual)
            }
            Kind::Word(word) if word == "is" => {
                self.next += 1;
                let operator = if self.take_word("not") { Operator::NotEmpty } else { Operator::Empty };
                if !self.take_word("empty") {
                    return Err(self.unexpected("\"empty\""));
                }
                Ok(Expr::Match { selector: first.selector()?, operator, value: String::new() })
            }
            _ => {
                let denied = self.take_word("not");
                if self.take_word("in") {
                    let selector = self.operand("a selector")?.selector()?;
                    let operator = if denied { Operator::NotIn } else { Operator::In };
                    return Ok(Expr::Match { selector, operator, value: first.value });
                }
                if self.take_word("contains") {
                    return self.with_value(first, if denied { Operator::NotIn } else { Operator::In });
                }
                if self.take_word("matches") {
                    let operator = if denied { Operator::NotMatches } else { Operator::Matches };
                    return self.with_value(first, operator);
                }
                Err(self.unexpected("an operator"))
            }
        }
    }

    fn with_value(&mut self, first: Operand, operator: Operator) -> Result<Expr, Reason> {
        let selector = first.selector()?;
        let value = match self.peek() {
            Kind::Word(_) | Kind::Text(_) => match self.advance() {
                Kind::Word(text) | Kind::Text(text) => text,
                _ => String::new(),
            },
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Expr::Match { selector, operator, value })
    }

    /// A selector or a value.
    fn operand(&mut self, expected: &'static str) -> Result<Operand, Reason> {
        let at = self.at();
        let mut operand = match self.peek() {
            Kind::Word(word) => {
                Operand { at, path: word.split('.').map(str::to_owned).collect(), value: word.clone() }
            }
            Kind::Text(text) => Operand { at, path: Vec::new(), value: text.clone() },
            _ => return Err(self.unexpected(expected)),
        };
        self.next += 1;
        while !operand.path.is_empty() && *self.peek() == Kind::OpenIndex {
            self.next += 1;
            match self.advance() {
                Kind::Text(key) => operand.path.push(key),
                _ => {
                    self.next -= 1;
                    return Err(self.unexpected("a key in quotes"));
                }
            }
            if *self.peek() != Kind::CloseIndex {
                return Err(self.unexpected("\"]\""));
            }
            self.next += 1;
            // What goes on behind an index begins with a dot.
            if let Kind::Word(word) = self.peek()
                && let Some(more) = word.strip_prefix('.')
            {
                operand.path.extend(more.split('.').map(str::to_owned));
                self.next += 1;
            }
        }
        Ok(operand)
    }
}

impl Operand {
    fn selector(self) -> Result<Vec<String>, Reason> {
        if self.path.is_empty() {
            return Err(Reason::Unexpected {
                found: format!("the string {:?}", self.value),
                at: self.at,
                expected: "a selector",
            });
        }
        if self.path.iter().any(String::is_empty) {
            return Err(Reason::Selector(self.path.join(".")));
        }
        Ok(self.path)
    }
}
