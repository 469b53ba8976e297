//! Writing.

use serde::ser::{self, Serialize};

use crate::Error;

/// Encodes one value.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(128);
    to_writer_vec(&mut out, value)?;
    Ok(out)
}

/// Appends one value. On error `out` is left as it was.
pub fn to_writer_vec<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    append(out, value, false)
}

/// Encodes one value with str8 for strings and the bin family for byte strings.
pub fn to_vec_new_format<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(128);
    append(&mut out, value, true)?;
    Ok(out)
}

fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T, new_format: bool) -> Result<(), Error> {
    let before = out.len();
    let mut serializer = Serializer::new(out);
    serializer.new_format = new_format;
    let result = value.serialize(&mut serializer);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Writes values to a buffer.
#[derive(Debug)]
pub struct Serializer<'a> {
    out: &'a mut Vec<u8>,
    new_format: bool,
    /// Where the entries of the maps being sorted begin, innermost map last. One list for all
    /// levels saves an allocation per struct.
    entries: Vec<usize>,
    /// Copy of a map's body while its entries are put in order.
    scratch: Vec<u8>,
    /// Where its entries begin and end in there.
    spans: Vec<(usize, usize)>,
}

impl<'a> Serializer<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Serializer { out, new_format: false, entries: Vec::new(), scratch: Vec::new(), spans: Vec::new() }
    }

    fn uint(&mut self, v: u64) {
        if v < 0x80 {
            self.out.push(v as u8);
        } else if let Ok(v) = u8::try_from(v) {
            self.out.extend_from_slice(&[0xcc, v]);
        } else if let Ok(v) = u16::try_from(v) {
            let [a, b] = v.to_be_bytes();
            self.out.extend_from_slice(&[0xcd, a, b]);
        } else if let Ok(v) = u32::try_from(v) {
            let [a, b, c, d] = v.to_be_bytes();
            self.out.extend_from_slice(&[0xce, a, b, c, d]);
        } else {
            self.out.push(0xcf);
            self.out.extend_from_slice(&v.to_be_bytes());
        }
    }

    fn int(&mut self, v: i64) {
        if v >= 0 {
            self.uint(v as u64);
        } else if v >= -32 {
            self.out.push(v as u8);
        } else if let Ok(v) = i8::try_from(v) {
            self.out.extend_from_slice(&[0xd0, v as u8]);
        } else if let Ok(v) = i16::try_from(v) {
            let [a, b] = v.to_be_bytes();
            self.out.extend_from_slice(&[0xd1, a, b]);
        } else if let Ok(v) = i32::try_from(v) {
            let [a, b, c, d] = v.to_be_bytes();
            self.out.extend_from_slice(&[0xd2, a, b, c, d]);
        } else {
            self.out.push(0xd3);
            self.out.extend_from_slice(&v.to_be_bytes());
        }
    }

    /// A length behind one of three markers: in the marker itself, 16 bits, 32 bits.
    fn length(&mut self, n: usize, fix: u8, fix_max: usize, wide: u8) -> Result<(), Error> {
        if n <= fix_max {
            self.out.push(fix | n as u8);
        } else if let Ok(n) = u16::try_from(n) {
            let [a, b] = n.to_be_bytes();
            self.out.extend_from_slice(&[wide, a, b]);
        } else if let Ok(n) = u32::try_from(n) {
            let [a, b, c, d] = n.to_be_bytes();
            self.out.extend_from_slice(&[wide + 1, a, b, c, d]);
        } else {
            return Err(Error::TooLong { limit: u32::MAX as usize });
        }
        Ok(())
    }

    fn array_len(&mut self, n: usize) -> Result<(), Error> {
        self.length(n, 0x90, 15, 0xdc)
    }

    fn map_len(&mut self, n: usize) -> Result<(), Error> {
        self.length(n, 0x80, 15, 0xde)
    }

    #[inline]
    fn string(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.new_format && (32..256).contains(&bytes.len()) {
            self.out.extend_from_slice(&[0xd9, bytes.len() as u8]);
        } else {
            self.length(bytes.len(), 0xa0, 31, 0xda)?;
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if !self.new_format {
            return self.string(bytes);
        }
        if let Ok(n) = u8::try_from(bytes.len()) {
            self.out.extend_from_slice(&[0xc4, n]);
        } else {
            // No short form: every length is beyond the "fix" range.
            self.length(bytes.len(), 0, 0, 0xc5)?;
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn sorted(&mut self, declared: Option<usize>) -> Result<SortedMap<'_, 'a>, Error> {
        let start = self.out.len();
        self.map_len(declared.unwrap_or(0))?;
        Ok(SortedMap {
            body: self.out.len(),
            first: self.entries.len(),
            ser: self,
            start,
            declared: declared.unwrap_or(0),
            ascending: true,
        })
    }

    fn variant(&mut self, name: &'static str) -> Result<(), Error> {
        self.map_len(1)?;
        self.string(name.as_bytes())
    }
}

/// The text of the key at the start of an entry, for comparison. Keys that are not strings
/// compare by their encoding.
fn key_of(entry: &[u8]) -> &[u8] {
    let (at, len) = match entry {
        [n @ 0xa0..=0xbf, ..] => (1, usize::from(n & 0x1f)),
        [0xd9, n, ..] => (2, usize::from(*n)),
        [0xda, a, b, ..] => (3, usize::from(u16::from_be_bytes([*a, *b]))),
        [0xdb, a, b, c, d, ..] => (5, u32::from_be_bytes([*a, *b, *c, *d]) as usize),
        _ => return entry,
    };
    entry.get(at..at + len).unwrap_or(entry)
}

/// A map whose entries end up in ascending order of their keys: structs, and maps of unknown
/// length (structs with flattened groups). Entries are written as they come; only if one was out
/// of order is the body copied and put together again. Of two equal keys the first stays.
#[derive(Debug)]
pub struct SortedMap<'s, 'a> {
    ser: &'s mut Serializer<'a>,
    /// Offsets in the output: of the head, of the first entry.
    start: usize,
    body: usize,
    /// Index of this map's first entry in `ser.entries`.
    first: usize,
    declared: usize,
    ascending: bool,
}

impl SortedMap<'_, '_> {
    /// The next entry's key has just been written at `at`.
    #[inline]
    fn note(&mut self, at: usize) {
        if self.ascending
            && self.ser.entries.len() > self.first
            && let Some(&previous) = self.ser.entries.last()
        {
            self.ascending = key_of(&self.ser.out[previous..]) < key_of(&self.ser.out[at..]);
        }
        self.ser.entries.push(at);
    }

    fn finish(self) -> Result<(), Error> {
        let SortedMap { ser, start, body, first, declared, ascending } = self;
        let count = ser.entries.len() - first;
        if ascending && count == declared {
            ser.entries.truncate(first);
            return Ok(());
        }
        let mut copy = std::mem::take(&mut ser.scratch);
        copy.clear();
        copy.extend_from_slice(&ser.out[body..]);
        let mut spans = std::mem::take(&mut ser.spans);
        spans.clear();
        for (i, &at) in ser.entries[first..].iter().enumerate() {
            let end = ser.entries.get(first + i + 1).map_or(copy.len(), |next| next - body);
            spans.push((at - body, end));
        }
        ser.entries.truncate(first);
        if !ascending {
            spans.sort_by(|a, b| key_of(&copy[a.0..a.1]).cmp(key_of(&copy[b.0..b.1])));
            spans.dedup_by(|b, a| key_of(&copy[a.0..a.1]) == key_of(&copy[b.0..b.1]));
        }
        ser.out.truncate(start);
        ser.map_len(spans.len())?;
        for &(from, to) in &spans {
            ser.out.extend_from_slice(&copy[from..to]);
        }
        ser.scratch = copy;
        ser.spans = spans;
        Ok(())
    }
}

impl ser::SerializeStruct for SortedMap<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        let at = self.ser.out.len();
        self.ser.string(key.as_bytes())?;
        self.note(at);
        value.serialize(&mut *self.ser)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl ser::SerializeStructVariant for SortedMap<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        ser::SerializeStruct::serialize_field(self, key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

/// A map being written.
#[derive(Debug)]
pub enum MapWriter<'s, 'a> {
    /// Length known: entries stay in the order they come in.
    Plain(&'s mut Serializer<'a>),
    Sorted(SortedMap<'s, 'a>),
}

impl ser::SerializeMap for MapWriter<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        match self {
            MapWriter::Plain(ser) => key.serialize(&mut **ser),
            MapWriter::Sorted(map) => {
                let at = map.ser.out.len();
                key.serialize(&mut *map.ser)?;
                map.note(at);
                Ok(())
            }
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match self {
            MapWriter::Plain(ser) => value.serialize(&mut **ser),
            MapWriter::Sorted(map) => value.serialize(&mut *map.ser),
        }
    }

    fn end(self) -> Result<(), Error> {
        match self {
            MapWriter::Plain(_) => Ok(()),
            MapWriter::Sorted(map) => map.finish(),
        }
    }
}

/// An array being written.
#[derive(Debug)]
pub struct ArrayWriter<'s, 'a> {
    ser: &'s mut Serializer<'a>,
    /// Set when the length was not known: where the head stands.
    open: Option<usize>,
    count: usize,
}

impl ArrayWriter<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.count += 1;
        value.serialize(&mut *self.ser)
    }

    fn finish(self) -> Result<(), Error> {
        if let Some(start) = self.open {
            let body = self.ser.out.split_off(start + 1);
            self.ser.out.truncate(start);
            self.ser.array_len(self.count)?;
            self.ser.out.extend_from_slice(&body);
        }
        Ok(())
    }
}

macro_rules! array_writer {
    ($($trait:ident :: $method:ident),*) => {$(
        impl ser::$trait for ArrayWriter<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        }
    )*};
}

array_writer!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

impl<'s, 'a> ser::Serializer for &'s mut Serializer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = ArrayWriter<'s, 'a>;
    type SerializeTuple = ArrayWriter<'s, 'a>;
    type SerializeTupleStruct = ArrayWriter<'s, 'a>;
    type SerializeTupleVariant = ArrayWriter<'s, 'a>;
    type SerializeMap = MapWriter<'s, 'a>;
    type SerializeStruct = SortedMap<'s, 'a>;
    type SerializeStructVariant = SortedMap<'s, 'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.out.push(if v { 0xc3 } else { 0xc2 });
        Ok(())
    }

    fn serialize_i8(self, v: i8) -> Result<(), Error> {
        self.int(i64::from(v));
        Ok(())
    }

    fn serialize_i16(self, v: i16) -> Result<(), Error> {
        self.int(i64::from(v));
        Ok(())
    }

    fn serialize_i32(self, v: i32) -> Result<(), Error> {
        self.int(i64::from(v));
        Ok(())
    }

    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        self.int(v);
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), Error> {
        self.uint(u64::from(v));
        Ok(())
    }

    fn serialize_u16(self, v: u16) -> Result<(), Error> {
        self.uint(u64::from(v));
        Ok(())
    }

    fn serialize_u32(self, v: u32) -> Result<(), Error> {
        self.uint(u64::from(v));
        Ok(())
    }

    fn serialize_u64(self, v: u64) -> Result<(), Error> {
        self.uint(v);
        Ok(())
    }

    fn serialize_f32(self, v: f32) -> Result<(), Error> {
        self.out.push(0xca);
        self.out.extend_from_slice(&v.to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, v: f64) -> Result<(), Error> {
        self.out.push(0xcb);
        self.out.extend_from_slice(&v.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), Error> {
        self.string(v.encode_utf8(&mut [0; 4]).as_bytes())
    }

    fn serialize_str(self, v: &str) -> Result<(), Error> {
        self.string(v.as_bytes())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        self.bytes(v)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.out.push(0xc0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.push(0xc0);
        Ok(())
    }

    /// A struct without fields, however it is declared, is an empty map.
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.map_len(0)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.string(variant.as_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant)?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<ArrayWriter<'s, 'a>, Error> {
        let start = self.out.len();
        self.array_len(len.unwrap_or(0))?;
        Ok(ArrayWriter { ser: self, open: len.is_none().then_some(start), count: 0 })
    }

    fn serialize_tuple(self, len: usize) -> Result<ArrayWriter<'s, 'a>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<ArrayWriter<'s, 'a>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<ArrayWriter<'s, 'a>, Error> {
        self.variant(variant)?;
        self.serialize_seq(Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<MapWriter<'s, 'a>, Error> {
        match len {
            Some(len) => {
                self.map_len(len)?;
                Ok(MapWriter::Plain(self))
            }
            None => Ok(MapWriter::Sorted(self.sorted(None)?)),
        }
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<SortedMap<'s, 'a>, Error> {
        self.sorted(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<SortedMap<'s, 'a>, Error> {
        self.variant(variant)?;
        self.sorted(Some(len))
    }
}
