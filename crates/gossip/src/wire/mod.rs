//! The memberlist wire format: frames, structs, compression, encryption.
