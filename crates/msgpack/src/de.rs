//! Reading.

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Visitor};

use crate::head::Head;
use crate::scan::shift;
use crate::{Error, MAX_DEPTH, Scanner};

/// Decodes the first value of `input`; bytes behind it are ignored.
pub fn from_slice<'de, T: Deserialize<'de>>(input: &'de [u8]) -> Result<T, Error> {
    from_slice_prefix(input).map(|(value, _)| value)
}

/// Decodes the first value of `input` and tells its length in bytes.
pub fn from_slice_prefix<'de, T: Deserialize<'de>>(input: &'de [u8]) -> Result<(T, usize), Error> {
    let mut de = Deserializer::new(input);
    match T::deserialize(&mut de) {
        Ok(value) => Ok((value, de.pos)),
        Err(error) => Err(error.at(de.pos)),
    }
}

/// Reads values from a buffer.
#[derive(Debug)]
pub struct Deserializer<'de> {
    input: &'de [u8],
    pos: usize,
    depth: usize,
}

impl<'de> Deserializer<'de> {
    pub fn new(input: &'de [u8]) -> Self {
        Deserializer { input, pos: 0, depth: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.pos
    }

    #[inline]
    fn head(&mut self) -> Result<Head, Error> {
        match Head::read(&self.input[self.pos..]).map_err(|e| shift(e, self.pos))? {
            Some((head, len)) => {
                self.pos += len;
                Ok(head)
            }
            None => Err(self.truncated()),
        }
    }

    fn truncated(&self) -> Error {
        Error::Truncated { offset: self.input.len() }
    }

    #[inline]
    fn take(&mut self, n: usize) -> Result<&'de [u8], Error> {
        match self.input[self.pos..].get(..n) {
            Some(bytes) => {
                self.pos += n;
                Ok(bytes)
            }
            None => Err(self.truncated()),
        }
    }

    #[inline]
    fn text(&mut self, n: usize) -> Result<&'de str, Error> {
        let offset = self.pos;
        std::str::from_utf8(self.take(n)?).map_err(|_| Error::NotUtf8 { len: n, offset })
    }

    fn unexpected(&self, head: Head, expected: &'static str) -> Error {
        Error::Unexpected { expected, found: head.kind(), offset: self.pos }
    }

    fn skip(&mut self) -> Result<(), Error> {
        let start = self.pos;
        match self.head()? {
            Head::Array(1..) | Head::Map(1..) => self.pos = start,
            Head::Raw(n) | Head::Bin(n) | Head::Ext(n) => return self.take(n).map(|_| ()),
            _ => return Ok(()),
        }
        let rest = &self.input[self.pos..];
        match Scanner::new(rest.len()).advance(rest) {
            Ok(Some(n)) => {
                self.pos += n;
                Ok(())
            }
            Ok(None) | Err(Error::TooLong { .. }) => Err(self.truncated()),
            Err(error) => Err(shift(error, self.pos)),
        }
    }

    /// Runs `f` one level deeper with `items` values to come, each of which takes a byte at least.
    fn nested<R>(
        &mut self,
        items: usize,
        f: impl FnOnce(&mut Items<'_, 'de>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if items > self.input.len() - self.pos {
            return Err(self.truncated());
        }
        if self.depth >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.depth += 1;
        let mut access = Items { de: self, left: items };
        let result = f(&mut access)?;
        // A visitor may stop early (an array longer than the struct).
        let left = access.left;
        for _ in 0..left {
            self.skip()?;
        }
        self.depth -= 1;
        Ok(result)
    }

    fn array<V: Visitor<'de>>(&mut self, n: usize, visitor: V) -> Result<V::Value, Error> {
        self.nested(n, |items| visitor.visit_seq(items))
    }

    fn map<V: Visitor<'de>>(&mut self, n: usize, visitor: V) -> Result<V::Value, Error> {
        self.nested(n.saturating_mul(2), |items| visitor.visit_map(items))
    }

    fn any<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value, Error> {
        match head {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(v) => visitor.visit_bool(v),
            Head::UInt(v) => visitor.visit_u64(v),
            Head::Int(v) => visitor.visit_i64(v),
            Head::Float(v) => visitor.visit_f64(v),
            Head::Raw(n) => {
                let bytes = self.take(n)?;
                match std::str::from_utf8(bytes) {
                    Ok(text) => visitor.visit_borrowed_str(text),
                    Err(_) => visitor.visit_borrowed_bytes(bytes),
                }
            }
            Head::Bin(n) => {
                let bytes = self.take(n)?;
                visitor.visit_borrowed_bytes(bytes)
            }
            Head::Array(n) => self.array(n, visitor),
            Head::Map(n) => self.map(n, visitor),
            Head::Ext(_) => Err(self.unexpected(head, "a value")),
        }
    }

    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::UInt(v) => visitor.visit_u64(v),
            Head::Int(v) => visitor.visit_i64(v),
            Head::Nil => visitor.visit_u64(0),
            other => Err(self.unexpected(other, "an integer")),
        }
    }

    fn float<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Float(v) => visitor.visit_f64(v),
            Head::UInt(v) => visitor.visit_f64(v as f64),
            Head::Int(v) => visitor.visit_f64(v as f64),
            Head::Nil => visitor.visit_f64(0.0),
            other => Err(self.unexpected(other, "a number")),
        }
    }

    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Raw(n) | Head::Bin(n) => visitor.visit_borrowed_str(self.text(n)?),
            Head::Nil => visitor.visit_borrowed_str(""),
            other => Err(self.unexpected(other, "a string")),
        }
    }

    fn byte_string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Raw(n) | Head::Bin(n) => visitor.visit_borrowed_bytes(self.take(n)?),
            Head::Nil => visitor.visit_borrowed_bytes(&[]),
            Head::Array(n) => self.array(n, visitor),
            other => Err(self.unexpected(other, "a byte string")),
        }
    }

    fn sequence<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Array(n) => self.array(n, visitor),
            Head::Nil => self.array(0, visitor),
            // Lists of byte-sized integers travel as byte strings.
            Head::Raw(n) | Head::Bin(n) => {
                let bytes = self.take(n)?;
                visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied()))
            }
            other => Err(self.unexpected(other, "an array")),
        }
    }

    fn empty<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Nil | Head::Array(0) | Head::Map(0) => visitor.visit_unit(),
            other => Err(self.unexpected(other, "nil")),
        }
    }
}

macro_rules! forward {
    ($to:ident: $($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$to(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    forward! { integer:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }
    forward! { float: deserialize_f32 deserialize_f64 }
    forward! { string: deserialize_char deserialize_str deserialize_string }
    forward! { byte_string: deserialize_bytes deserialize_byte_buf }
    forward! { sequence: deserialize_seq }
    forward! { empty: deserialize_unit }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let head = self.head()?;
        self.any(head, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Bool(v) => visitor.visit_bool(v),
            Head::UInt(v @ (0 | 1)) => visitor.visit_bool(v == 1),
            Head::Nil => visitor.visit_bool(false),
            other => Err(self.unexpected(other, "a bool")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.input.get(self.pos) == Some(&0xc0) {
            self.pos += 1;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.sequence(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Map(n) => self.map(n, visitor),
            Head::Nil => self.map(0, visitor),
            other => Err(self.unexpected(other, "a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Map(n) => self.map(n, visitor),
            Head::Array(n) => self.array(n, visitor),
            Head::Nil => self.map(0, visitor),
            other => Err(self.unexpected(other, "a struct (map)")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Raw(n) | Head::Bin(n) => visitor.visit_enum(BorrowedStrDeserializer::new(self.text(n)?)),
            Head::Nil => visitor.visit_enum(BorrowedStrDeserializer::new("")),
            Head::Map(1) => self.nested(2, |items| {
                items.left = 0;
                visitor.visit_enum(Variant { de: &mut *items.de })
            }),
            other => Err(self.unexpected(other, "a variant's name")),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            // A key that cannot be a field's name is a key to skip.
            head @ Head::Bin(n) => match std::str::from_utf8(self.take(n)?) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => Err(self.unexpected(head, "a key")),
            },
            head => self.any(head, visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.integer(visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.integer(visitor)
    }
}

/// The values of an array, or keys and values of a map by turns.
struct Items<'a, 'de> {
    de: &'a mut Deserializer<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.de).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for &mut Items<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.de).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.left = self.left.saturating_sub(1);
        seed.deserialize(&mut *self.de)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left / 2)
    }
}

/// A variant with content: a map of one entry.
struct Variant<'a, 'de> {
    de: &'a mut Deserializer<'de>,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = seed.deserialize(&mut *self.de)?;
        Ok((name, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.de.skip()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.de)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.de.sequence(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_struct(self.de, "", fields, visitor)
    }
}
