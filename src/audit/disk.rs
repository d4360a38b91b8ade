//! What the writer asks of the disk: few calls, so that tests can let each of them fail.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::segment::SegmentName;

/// A folder that segments are made in.
pub(super) trait Disk: Send {
    type File: SegmentFile;

    /// Makes a segment; when this returns, its name is on disk too.
    fn create(&mut self, name: SegmentName) -> io::Result<Self::File>;
}

/// A segment that is appended to.
pub(super) trait SegmentFile: Send {
    /// Appends some of `bytes`, and says how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Returns once all that was appended is on disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// The real one.
pub(super) struct Folder(pub PathBuf);

impl Disk for Folder {
    type File = File;

    fn create(&mut self, name: SegmentName) -> io::Result<File> {
        let path = self.0.join(name.to_string());
        let mut options = OpenOptions::new();
        options.append(true).mode(0o640);
        let file = match options.clone().create_new(true).open(&path) {
            // What an attempt left behind that failed after this. Anything in it is not ours to overwrite.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = options.open(&path)?;
                if file.metadata()?.len() > 0 {
                    return Err(error);
                }
                file
            }
            made => made?,
        };
        // fsync(2): a file that is on disk may lack its name in the folder.
        File::open(&self.0)?.sync_all()?;
        Ok(file)
    }
}

impl SegmentFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
