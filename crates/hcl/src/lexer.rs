//! Text to tokens.

use crate::{Error, Pos};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Ident(String),
    String(String),
    Heredoc(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Assign,
    End,
}

impl Token {
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Ident(s) => format!("IDENT {s}"),
            Token::String(_) => "STRING".into(),
            Token::Heredoc(_) => "HEREDOC".into(),
            Token::Int(n) => format!("NUMBER {n}"),
            Token::Float(n) => format!("FLOAT {n}"),
            Token::Bool(b) => format!("BOOL {b}"),
            Token::LeftBrace => "LBRACE".into(),
            Token::RightBrace => "RBRACE".into(),
            Token::LeftBracket => "LBRACK".into(),
            Token::RightBracket => "RBRACK".into(),
            Token::Comma => "COMMA".into(),
            Token::Assign => "ASSIGN".into(),
            Token::End => "EOF".into(),
        }
    }
}

pub(crate) struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    pos: Pos,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { rest: text.chars().peekable(), pos: Pos { line: 1, column: 1 } }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.pos.line = self.pos.line.saturating_add(1);
            self.pos.column = 1;
        } else {
            self.pos.column = self.pos.column.saturating_add(1);
        }
        Some(c)
    }

    /// The next token and where it starts.
    pub(crate) fn next(&mut self) -> Result<(Token, Pos), Error> {
        self.skip_blank()?;
        let start = self.pos;
        let Some(c) = self.peek() else {
            return Ok((Token::End, start));
        };
        let token = match c {
            '{' | '}' | '[' | ']' | ',' | '=' => {
                self.bump();
                match c {
                    '{' => Token::LeftBrace,
                    '}' => Token::RightBrace,
                    '[' => Token::LeftBracket,
                    ']' => Token::RightBracket,
                    ',' => Token::Comma,
                    _ => Token::Assign,
                }
            }
            '"' => {
                self.bump();
                Token::String(self.string(start)?)
            }
            '<' => {
                self.bump();
                Token::Heredoc(self.heredoc(start)?)
            }
            '-' | '+' | '.' | '0'..='9' => self.number(start)?,
            c if c.is_alphabetic() || c == '_' => self.word(),
            c => return Err(Error::at(start, format!("illegal character {c:?}"))),
        };
        Ok((token, start))
    }

    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            match self.peek() {
                Some(c) if c.is_whitespace() => {
                    self.bump();
                }
                Some('#') => self.skip_line(),
                Some('/') => {
                    let start = self.pos;
                    self.bump();
                    match self.peek() {
                        Some('/') => self.skip_line(),
                        Some('*') => {
                            self.bump();
                            self.skip_block_comment(start)?;
                        }
                        _ => return Err(Error::at(start, "expected '/' or '*' for a comment")),
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        while let Some(c) = self.peek() {
            if c == '\n' {
                return;
            }
            self.bump();
        }
    }

    fn skip_block_comment(&mut self, start: Pos) -> Result<(), Error> {
        let mut star = false;
        while let Some(c) = self.bump() {
            if star && c == '/' {
                return Ok(());
            }
            star = c == '*';
        }
        Err(Error::at(start, "comment not terminated"))
    }

    fn word(&mut self) -> Token {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') {
                word.push(c);
                self.bump();
            } else {
                break;
            }
        }
        match word.as_str() {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            _ => Token::Ident(word),
        }
    }

    fn number(&mut self, start: Pos) -> Result<Token, Error> {
        let mut text = String::new();
        let mut exponent = false;
        while let Some(c) = self.peek() {
            let sign = matches!(c, '-' | '+');
            let hex = text.trim_start_matches('-').starts_with("0x")
                || text.trim_start_matches('-').starts_with("0X");
            let takes =
                if sign { text.is_empty() || exponent } else { c.is_ascii_alphanumeric() || c == '.' };
            if !takes {
                break;
            }
            exponent = matches!(c, 'e' | 'E') && !hex;
            text.push(c);
            self.bump();
        }
        read_number(&text).ok_or_else(|| Error::at(start, format!("cannot parse {text:?} as a number")))
    }

    /// The rest of a quoted string. Inside `${ }` quotes and newlines belong
    /// to the text and backslashes are kept.
    fn string(&mut self, start: Pos) -> Result<String, Error> {
        let unterminated = || Error::at(start, "literal not terminated");
        let mut out = String::new();
        let mut braces = 0usize;
        loop {
            let at = self.pos;
            let c = self.bump().ok_or_else(unterminated)?;
            if braces > 0 {
                match c {
                    '{' => braces += 1,
                    '}' => braces -= 1,
                    _ => {}
                }
                out.push(c);
                continue;
            }
            match c {
                '"' => return Ok(out),
                '\n' => return Err(unterminated()),
                '$' if self.peek() == Some('{') => {
                    self.bump();
                    out.push_str("${");
                    braces = 1;
                }
                '\\' => out.push(self.escape(at)?),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self, at: Pos) -> Result<char, Error> {
        let bad = || Error::at(at, "illegal char escape");
        let c = self.bump().ok_or_else(bad)?;
        Ok(match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' => '\\',
            '"' => '"',
            'x' => self.code_point(2, 16, 0).ok_or_else(bad)?,
            'u' => self.code_point(4, 16, 0).ok_or_else(bad)?,
            'U' => self.code_point(8, 16, 0).ok_or_else(bad)?,
            '0'..='7' => self.code_point(2, 8, c.to_digit(8).unwrap_or(0)).ok_or_else(bad)?,
            _ => return Err(bad()),
        })
    }

    fn code_point(&mut self, digits: usize, base: u32, first: u32) -> Option<char> {
        let mut code = first;
        for _ in 0..digits {
            let digit = self.peek()?.to_digit(base)?;
            self.bump();
            code = code.checked_mul(base)?.checked_add(digit)?;
        }
        char::from_u32(code)
    }

    /// `<<MARK` or `<<-MARK`, lines, and a line with nothing but MARK
    /// (indented or not). The text ends with a newline unless it is empty.
    /// With `-`, the indentation of the closing MARK is taken off every line,
    /// if every line has it.
    fn heredoc(&mut self, start: Pos) -> Result<String, Error> {
        let bad = |message: &str| Error::at(start, message);
        if self.bump() != Some('<') {
            return Err(bad("heredoc expected second '<', didn't see it"));
        }
        let indented = self.peek() == Some('-');
        if indented {
            self.bump();
        }
        let mut mark = String::new();
        loop {
            match self.bump() {
                Some('\n') => break,
                Some('\r') if self.peek() == Some('\n') => {}
                Some(c) if c.is_alphanumeric() || matches!(c, '_' | '-') => mark.push(c),
                Some(_) => return Err(bad("invalid characters in heredoc anchor")),
                None => return Err(bad("heredoc not terminated")),
            }
        }
        if mark.is_empty() {
            return Err(bad("zero-length heredoc anchor"));
        }
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            // The newline after the mark is left: it ends nothing here.
            while let Some(c) = self.peek() {
                if c == '\n' {
                    break;
                }
                line.push(c);
                self.bump();
            }
            let stripped = line.trim_end_matches('\r');
            if stripped.trim_start_matches([' ', '\t']) == mark {
                let indent = &stripped[..stripped.len() - mark.len()];
                return Ok(join_heredoc(&lines, if indented { indent } else { "" }));
            }
            if self.bump().is_none() {
                return Err(bad("heredoc not terminated"));
            }
            lines.push(line);
        }
    }
}

fn join_heredoc(lines: &[String], indent: &str) -> String {
    let cut = if lines.iter().all(|l| l.starts_with(indent)) { indent.len() } else { 0 };
    let mut out = String::new();
    for line in lines {
        out.push_str(&line[cut..]);
        out.push('\n');
    }
    out
}

/// Decimal, `0x` hexadecimal, leading-zero octal, and floats with `.` or an exponent.
fn read_number(text: &str) -> Option<Token> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let integer = |digits: &str, base| -> Option<Token> {
        if digits.is_empty() || digits.starts_with(['+', '-']) {
            return None;
        }
        let n = i128::from_str_radix(digits, base).ok()?;
        i64::try_from(if negative { -n } else { n }).ok().map(Token::Int)
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return integer(hex, 16);
    }
    if digits.contains(['.', 'e', 'E']) {
        let value: f64 = text.parse().ok()?;
        return value.is_finite().then_some(Token::Float(value));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return integer(&digits[1..], 8);
    }
    integer(digits, 10)
}
