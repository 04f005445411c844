use bytes::{Bytes, BytesMut};

/// The longest line that is accepted: twice the largest page of upstream.
const LONGEST: usize = 64 << 20;

/// Splits the chunks of a stream into lines, at line feeds only: a row may contain any other separator.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    /// The beginning of a line whose end has not arrived.
    rest: BytesMut,
}

/// A line is longer than any row can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the response is longer than {} MiB", LONGEST >> 20)]
pub struct TooLongLine;

impl LineSplitter {
    /// Calls `each` with every line that ends in the chunk, without its line feed. Skips blank lines, which only keep the
    /// connection alive.
    ///
    /// # Errors
    /// The first error of `each`, or [`TooLongLine`].
    pub(super) fn split<E: From<TooLongLine>>(
        &mut self,
        mut chunk: Bytes,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(at) = chunk.iter().position(|byte| *byte == b'\n') {
            let line = chunk.split_to(at + 1);
            let line = &line[..at];
            if self.rest.is_empty() {
                call(line, &mut each)?;
            } else {
                self.rest.extend_from_slice(line);
                call(&self.rest, &mut each)?;
                self.rest.clear();
            }
        }
        if self.rest.len() + chunk.len() > LONGEST {
            return Err(TooLongLine.into());
        }
        self.rest.extend_from_slice(&chunk);
        Ok(())
    }

    /// Whether the last line has no line feed yet.
    pub(super) fn is_within_a_line(&self) -> bool {
        !self.rest.is_empty()
    }
}

fn call<E>(line: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    if line.iter().all(u8::is_ascii_whitespace) { Ok(()) } else { each(line) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> (Vec<String>, bool) {
        let (mut splitter, mut lines) = (LineSplitter::default(), Vec::new());
        for chunk in chunks {
            let each = |line: &[u8]| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                Ok::<_, TooLongLine>(())
            };
            splitter.split(Bytes::copy_from_slice(chunk), each).unwrap();
        }
        (lines, splitter.is_within_a_line())
    }

    #[test]
    fn skips_blank_lines_and_reports_an_open_line() {
        let (found, is_open) = lines(&[b"a\n\n", b"\n \nb", b"c\nd"]);
        assert_eq!((found, is_open), (vec!["a".to_owned(), "bc".to_owned()], true));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_cuts_of_the_stream(
            text in proptest::collection::vec("[a\u{2028}\u{85}\r]{1,5}", 0..12),
            cuts in proptest::collection::vec(0usize..80, 0..8),
        ) {
            let body: Vec<u8> = text.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            let kept: Vec<_> = text.into_iter().filter(|line| !line.bytes().all(|byte| byte == b'\r')).collect();
            prop_assert_eq!(lines(&chunks), (kept, false));
        }
    }
}
