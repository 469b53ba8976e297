//! Clients of the key-value store that record what they saw, and the model they are judged by.
