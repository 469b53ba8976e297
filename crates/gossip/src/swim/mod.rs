//! SWIM with the Lifeguard extensions, as a state machine without I/O.
