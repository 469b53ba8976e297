//! Files of a moment: archives on their way.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use consensus::Paced;
use tokio::io::{AsyncRead, ReadBuf};

/// A file without a name. It reaches the disk, and leaves it after its use, in pieces.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Paced,
}

impl Spool {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { file: Paced::new(tempfile::tempfile()?) })
    }

    /// Another handle to it, at the same position.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.get_ref().try_clone()
    }

    /// To be read from its beginning.
    pub(crate) fn into_reader(mut self) -> io::Result<SpoolReader> {
        self.rewind()?;
        Ok(SpoolReader { file: tokio::fs::File::from_std(self.handle()?), _spool: self })
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for Spool {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.get_ref().read(bytes)
    }
}

impl Seek for Spool {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.get_ref().seek(to)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Ok(file) = self.handle() {
            consensus::give_back_later(file);
        }
    }
}

/// Reads a spool; it is gone afterwards.
pub(crate) struct SpoolReader {
    file: tokio::fs::File,
    _spool: Spool,
}

impl AsyncRead for SpoolReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_and_the_rest_is_given_back() {
        let bytes: Vec<u8> = (0..10_000_000_u32).map(|n| (n % 253) as u8).collect();
        let mut spool = Spool::new().unwrap();
        spool.write_all(&bytes).unwrap();
        let kept = spool.handle().unwrap();
        let mut reader = spool.into_reader().unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        assert!(read == bytes);
        drop(reader);
        while kept.metadata().unwrap().len() == bytes.len() as u64 {
            tokio::task::yield_now().await;
        }
    }
}
