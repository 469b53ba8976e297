//! The memberlist wire format: messages, envelopes, compression, encryption.
//!
//! A packet from outside to inside: label, encryption, checksum, compression, compound, messages.
//! A stream message: label, encryption, compression, message. Bodies are msgpack.

mod codec;
mod compress;
mod crypto;
mod message;
mod stream;

pub use codec::{
    COMPOUND_HEADER, Codec, MAX_LABEL, MAX_PACKET, MAX_PARTS, MAX_STREAM, PART_OVERHEAD, PacketError,
    StreamError, encode, for_each_message, user_message,
};
pub use compress::{CompressError, MAX_DECOMPRESSED, compress, decompress};
pub use crypto::{CryptoError, KeyError, Keyring, SEAL_OVERHEAD, SealVersion};
pub use message::{
    Accusation, Ack, Alive, Compressed, ErrorReply, IndirectPing, MessageType, Nack, Ping, PushNodeState,
    PushPullHeader, Raw, UserHeader,
};
pub use stream::{MAX_EXCHANGE_NODES, Progress, StreamReader};
