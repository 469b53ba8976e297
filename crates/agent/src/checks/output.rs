//! Output of bounded size, however much a probe writes.

use std::collections::VecDeque;

/// Keeps the last bytes of what is written to it.
#[derive(Debug)]
pub struct Tail {
    limit: usize,
    kept: VecDeque<u8>,
    total: u64,
}

impl Tail {
    /// Keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: VecDeque::new(), total: 0 }
    }

    /// Takes more output.
    pub fn write(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.limit)..];
        let over = (self.kept.len() + bytes.len()).saturating_sub(self.limit);
        self.kept.drain(..over);
        self.kept.extend(bytes);
    }

    /// What is kept, as text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.kept.make_contiguous()).into_owned()
    }

    /// What is kept, with a remark if that is not all.
    pub fn remarked(&mut self) -> String {
        let (kept, total) = (self.kept.len(), self.total);
        let text = self.text();
        if total > kept as u64 { format!("Captured {kept} of {total} bytes\n...\n{text}") } else { text }
    }
}

/// The first bytes of a text, with a remark if that is not all.
pub fn head(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let at = text.floor_char_boundary(limit);
    format!("{} ... (captured {at} of {} bytes)", &text[..at], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_kept() {
        let mut tail = Tail::new(5);
        tail.write(b"abc");
        assert_eq!(tail.remarked(), "abc");
        tail.write(b"def");
        assert_eq!(tail.remarked(), "Captured 5 of 6 bytes\n...\nbcdef");
        tail.write(b"0123456789");
        assert_eq!(tail.text(), "56789");
        let mut none = Tail::new(0);
        none.write(b"x");
        assert_eq!(none.text(), "");
    }

    #[test]
    fn the_head_is_kept_whole_characters_only() {
        assert_eq!(head("abc", 3), "abc");
        assert_eq!(head("abcdefghijklmnopqrstuvwxyz", 10), "abcdefghij ... (captured 10 of 26 bytes)");
        assert_eq!(head("aé", 2), "a ... (captured 1 of 3 bytes)");
    }
}
