//! Name compression (RFC 1035 section 4.1.4) that stays quick in long answers.
//!
//! Every name and every parent of a name that was written is known by a hash, and compared in the
//! message itself. Names are compared as they are written, so that each keeps its case.

use std::convert::Infallible;

use domain::base::name::ToName;
use domain::base::wire::Composer;
use domain::dep::octseq::{OctetsBuilder, Truncate};

/// First place in a message that no pointer reaches.
const END: usize = 0x4000;
/// The two bits that tell a pointer from a label.
const POINTER: u8 = 0xc0;
/// Labels of the longest name, RFC 1035 section 2.3.4, without the root.
const MAX_LABELS: usize = 127;
/// A prime that spreads the bits of labels.
const SPREAD: u32 = 0x0100_0193;

/// A message being written, with the places of the names in it.
pub struct Compressor {
    message: Vec<u8>,
    /// Hashes of the known names; `places` has where they stand, in ascending order.
    hashes: Vec<u32>,
    places: Vec<u16>,
}

impl Compressor {
    /// Writes to `message`.
    pub fn new(message: Vec<u8>) -> Self {
        Self { message, hashes: Vec::with_capacity(32), places: Vec::with_capacity(32) }
    }

    /// The message.
    pub fn into_message(self) -> Vec<u8> {
        self.message
    }

    fn find(&self, hash: u32, name: &[u8]) -> Option<u16> {
        let known = self.hashes.iter().zip(&self.places);
        known.filter(|(known, _)| **known == hash).map(|(_, place)| *place).find(|&at| self.is_at(at, name))
    }

    /// Whether a name stands at a place of the message. Pointers there are ours and lead backwards.
    fn is_at(&self, at: u16, mut name: &[u8]) -> bool {
        let mut at = usize::from(at);
        loop {
            let Some(&[length, next]) = self.message.get(at..at + 2) else {
                // The root at the end of the message.
                return self.message.get(at) == Some(&0) && name == [0];
            };
            if length & POINTER == POINTER {
                at = usize::from(u16::from_be_bytes([length & !POINTER, next]));
                continue;
            }
            let label = 1 + usize::from(length);
            let (Some(known), Some(wanted)) = (self.message.get(at..at + label), name.get(..label)) else {
                return false;
            };
            if known != wanted {
                return false;
            }
            if length == 0 {
                return true;
            }
            at += label;
            name = &name[label..];
        }
    }
}

impl OctetsBuilder for Compressor {
    type AppendError = Infallible;

    fn append_slice(&mut self, slice: &[u8]) -> Result<(), Infallible> {
        self.message.extend_from_slice(slice);
        Ok(())
    }
}

impl AsRef<[u8]> for Compressor {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl AsMut<[u8]> for Compressor {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.message
    }
}

impl Truncate for Compressor {
    fn truncate(&mut self, len: usize) {
        self.message.truncate(len);
        let kept = self.places.partition_point(|&place| usize::from(place) < len);
        self.places.truncate(kept);
        self.hashes.truncate(kept);
    }
}

impl Composer for Compressor {
    fn append_compressed_name<N: ToName + ?Sized>(&mut self, name: &N) -> Result<(), Infallible> {
        match name.as_flat_slice() {
            Some(flat) => self.append(flat),
            None => self.append(name.to_vec().as_slice()),
        }
        Ok(())
    }

    fn can_compress(&self) -> bool {
        true
    }
}

impl Compressor {
    fn append(&mut self, name: &[u8]) {
        // Where the labels begin, the root's not among them.
        let mut starts = [0_u8; MAX_LABELS];
        let (mut count, mut at) = (0, 0);
        while let Some(&length @ 1..) = name.get(at)
            && count < MAX_LABELS
        {
            starts[count] = at as u8;
            count += 1;
            at += 1 + usize::from(length);
        }
        let mut hashes = [0_u32; MAX_LABELS];
        let (mut hash, mut end) = (0_u32, at);
        for (start, at_start) in starts[..count].iter().zip(&mut hashes).rev() {
            let start = usize::from(*start);
            hash = name[start..end]
                .iter()
                .fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(SPREAD));
            *at_start = hash;
            end = start;
        }
        let base = self.message.len();
        let known = starts[..count].iter().zip(&hashes).enumerate().find_map(|(nth, (start, hash))| {
            self.find(*hash, &name[usize::from(*start)..]).map(|place| (nth, usize::from(*start), place))
        });
        match known {
            Some((nth, start, place)) => {
                count = nth;
                self.message.extend_from_slice(&name[..start]);
                let [high, low] = place.to_be_bytes();
                self.message.extend_from_slice(&[high | POINTER, low]);
            }
            None => self.message.extend_from_slice(name),
        }
        for (start, hash) in starts[..count].iter().zip(&hashes) {
            let place = base + usize::from(*start);
            if place < END {
                self.places.push(place as u16);
                self.hashes.push(*hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::base::{Name, ParsedName};
    use domain::dep::octseq::Parser;
    use proptest::prelude::*;

    use super::*;
    use crate::name::{DnsName, parse_name};

    fn write(names: &[DnsName]) -> (Vec<u8>, Vec<usize>) {
        let mut compressor = Compressor::new(vec![0; 12]);
        let mut places = Vec::new();
        for name in names {
            places.push(compressor.message.len());
            compressor.append_compressed_name(name).unwrap();
        }
        (compressor.into_message(), places)
    }

    fn read(message: &[u8], at: usize) -> Vec<u8> {
        let mut parser = Parser::from_ref(message);
        parser.seek(at).unwrap();
        let name: Name<Vec<u8>> = ParsedName::parse_ref(&mut parser).unwrap().to_name();
        name.as_slice().to_vec()
    }

    #[test]
    fn known_names_are_pointers() {
        let names = ["web.service.consul", "n1.node.consul", "n1.node.consul", "n2.node.consul", "."]
            .map(|name| parse_name(name).unwrap());
        let (message, places) = write(&names);
        for (name, at) in names.iter().zip(&places) {
            assert_eq!(read(&message, *at), name.as_slice());
        }
        assert_eq!(message[places[1]..], *b"\x02n1\x04node\xc0\x18\xc0\x20\x02n2\xc0\x23\x00");
    }

    #[test]
    fn each_keeps_its_case() {
        let names = ["a.consul", "a.Consul", "b.Consul"].map(|name| parse_name(name).unwrap());
        let (message, places) = write(&names);
        for (name, at) in names.iter().zip(places) {
            assert_eq!(read(&message, at), name.as_slice());
        }
    }

    #[test]
    fn what_was_cut_off_is_forgotten() {
        let mut compressor = Compressor::new(Vec::new());
        let names = ["a.consul", "b.consul"].map(|name| parse_name(name).unwrap());
        compressor.append_compressed_name(&names[0]).unwrap();
        let length = compressor.message.len();
        compressor.append_compressed_name(&names[1]).unwrap();
        let once = compressor.message.clone();
        compressor.truncate(length);
        compressor.append_compressed_name(&names[1]).unwrap();
        assert_eq!(compressor.message, once);
        compressor.truncate(0);
        compressor.append_compressed_name(&names[1]).unwrap();
        assert_eq!(compressor.message, names[1].as_slice());
    }

    #[test]
    fn messages_longer_than_pointers_reach() {
        let names: Vec<DnsName> =
            (0..900).map(|n| parse_name(&format!("node-{n:012}.x{}.dc", n % 7)).unwrap()).collect();
        let (message, places) = write(&names);
        assert!(message.len() > END);
        for (name, at) in names.iter().zip(places) {
            assert_eq!(read(&message, at), name.as_slice());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn names_read_back(
            names in proptest::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,5}", 1..400),
        ) {
            let names: Vec<DnsName> = names.iter().map(|name| parse_name(name).unwrap()).collect();
            let (message, places) = write(&names);
            for (name, at) in names.iter().zip(places) {
                prop_assert_eq!(read(&message, at), name.as_slice());
            }
        }
    }
}
