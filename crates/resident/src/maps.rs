//! Lines of `/proc/PID/maps`, as proc(5) describes them.

/// Part of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: usize,
    pub bytes: usize,
}

/// The range of a line that maps code of a file: private, executable and not writable.
pub fn code(line: &str) -> Option<Range> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let (_offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
    if permissions != "r-xp" || inode == "0" {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let bytes = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    Some(Range { start, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files() {
        let range = |line| code(line).map(|r| (r.start, r.bytes));
        assert_eq!(
            range("55c0a1400000-55c0a2a00000 r-xp 00500000 fe:00 1042 /usr/bin/proconsul"),
            Some((0x55c0_a140_0000, 0x0160_0000))
        );
        assert_eq!(range("55c0a2a00000-55c0a2b00000 r--p 01b00000 fe:00 1042 /usr/bin/proconsul"), None);
        assert_eq!(range("55c0a2b00000-55c0a2b01000 rw-p 01c00000 fe:00 1042 /usr/bin/proconsul"), None);
        assert_eq!(range("55c0a2b00000-55c0a2b01000 rwxp 01c00000 fe:00 1042 /usr/bin/proconsul"), None);
        assert_eq!(range("7ffd3b5f2000-7ffd3b5f4000 r-xp 00000000 00:00 0 [vdso]"), None);
        assert_eq!(range("7f0000000000-7f0000001000 r-xp 00000000 00:00 0"), None);
    }

    #[test]
    fn no_line_of_maps() {
        for line in ["", "x", "1-2", "2-1 r-xp 0 0:0 7 /x", "zz-zz r-xp 0 0:0 7 /x", "1-2 r-xp 0 0:0"] {
            assert_eq!(code(line), None, "{line}");
        }
    }
}
