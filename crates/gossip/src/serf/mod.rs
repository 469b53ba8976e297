//! The serf layer: tags, intents, events, queries.
