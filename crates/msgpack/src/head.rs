//! The first bytes of a value: what it is and how long.

use rmp::Marker;

use crate::Error;

/// A value's head. Lengths are in bytes for `Raw`, `Bin` and `Ext`, in elements for `Array`, in
/// pairs for `Map`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Head {
    Nil,
    Bool(bool),
    UInt(u64),
    /// Negative.
    Int(i64),
    Float(f64),
    Raw(usize),
    Bin(usize),
    Array(usize),
    Map(usize),
    /// Body length with the type byte.
    Ext(usize),
}

impl Head {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Head::Nil => "nil",
            Head::Bool(_) => "a bool",
            Head::UInt(_) => "an integer",
            Head::Int(_) => "a negative integer",
            Head::Float(_) => "a float",
            Head::Raw(_) => "a string",
            Head::Bin(_) => "a byte string",
            Head::Array(_) => "an array",
            Head::Map(_) => "a map",
            Head::Ext(_) => "an extension",
        }
    }

    /// Reads the head at the start of `input`; also returns its length. `None`: more bytes needed.
    #[inline]
    pub(crate) fn read(input: &[u8]) -> Result<Option<(Head, usize)>, Error> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let rest = &input[1..];
        macro_rules! be {
            ($ty:ty) => {
                match rest.first_chunk() {
                    Some(bytes) => <$ty>::from_be_bytes(*bytes),
                    None => return Ok(None),
                }
            };
        }
        let signed = |v: i64| {
            if v < 0 { Head::Int(v) } else { Head::UInt(v as u64) }
        };
        let (head, tail) = match Marker::from_u8(first) {
            Marker::FixPos(v) => (Head::UInt(u64::from(v)), 0),
            Marker::FixNeg(v) => (Head::Int(i64::from(v)), 0),
            Marker::FixMap(n) => (Head::Map(usize::from(n)), 0),
            Marker::FixArray(n) => (Head::Array(usize::from(n)), 0),
            Marker::FixStr(n) => (Head::Raw(usize::from(n)), 0),
            Marker::Null => (Head::Nil, 0),
            Marker::True => (Head::Bool(true), 0),
            Marker::False => (Head::Bool(false), 0),
            Marker::Str8 => (Head::Raw(usize::from(be!(u8))), 1),
            Marker::Str16 => (Head::Raw(usize::from(be!(u16))), 2),
            Marker::Str32 => (Head::Raw(be!(u32) as usize), 4),
            Marker::Bin8 => (Head::Bin(usize::from(be!(u8))), 1),
            Marker::Bin16 => (Head::Bin(usize::from(be!(u16))), 2),
            Marker::Bin32 => (Head::Bin(be!(u32) as usize), 4),
            Marker::Array16 => (Head::Array(usize::from(be!(u16))), 2),
            Marker::Array32 => (Head::Array(be!(u32) as usize), 4),
            Marker::Map16 => (Head::Map(usize::from(be!(u16))), 2),
            Marker::Map32 => (Head::Map(be!(u32) as usize), 4),
            Marker::U8 => (Head::UInt(u64::from(be!(u8))), 1),
            Marker::U16 => (Head::UInt(u64::from(be!(u16))), 2),
            Marker::U32 => (Head::UInt(u64::from(be!(u32))), 4),
            Marker::U64 => (Head::UInt(be!(u64)), 8),
            Marker::I8 => (signed(i64::from(be!(i8))), 1),
            Marker::I16 => (signed(i64::from(be!(i16))), 2),
            Marker::I32 => (signed(i64::from(be!(i32))), 4),
            Marker::I64 => (signed(be!(i64)), 8),
            Marker::F32 => (Head::Float(f64::from(be!(f32))), 4),
            Marker::F64 => (Head::Float(be!(f64)), 8),
            Marker::FixExt1 => (Head::Ext(2), 0),
            Marker::FixExt2 => (Head::Ext(3), 0),
            Marker::FixExt4 => (Head::Ext(5), 0),
            Marker::FixExt8 => (Head::Ext(9), 0),
            Marker::FixExt16 => (Head::Ext(17), 0),
            Marker::Ext8 => (Head::Ext(usize::from(be!(u8)) + 1), 1),
            Marker::Ext16 => (Head::Ext(usize::from(be!(u16)) + 1), 2),
            Marker::Ext32 => (Head::Ext((be!(u32) as usize).saturating_add(1)), 4),
            Marker::Reserved => {
                return Err(Error::Unexpected {
                    expected: "a value",
                    found: "the reserved byte c1",
                    offset: 0,
                });
            }
        };
        Ok(Some((head, 1 + tail)))
    }
}
