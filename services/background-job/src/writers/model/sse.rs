//! Reads a stream of server-sent events (WHATWG HTML, section 9.2) out of pieces cut anywhere.

/// A provider that sends longer lines is broken.
const MAX_LINE_BYTES: usize = 1 << 20;

/// The stream is not one of server-sent events.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is not text in UTF-8, or has lines without end")]
pub struct Garbled;

/// Collects bytes until lines and events are whole, so that a character split between two pieces stays whole.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return, and a line feed may belong to it.
    after_return: bool,
    data: Option<String>,
}

impl Parser {
    /// Takes the next piece; gives the `data` of every event that it completes.
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, Garbled> {
        let mut events = Vec::new();
        for &byte in piece {
            let second_of_pair = self.after_return && byte == b'\n';
            self.after_return = byte == b'\r';
            match byte {
                _ if second_of_pair => {}
                b'\n' | b'\r' => self.end_line(&mut events)?,
                _ if self.line.len() >= MAX_LINE_BYTES => return Err(Garbled),
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, events: &mut Vec<String>) -> Result<(), Garbled> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            events.extend(self.data.take());
            return Ok(());
        }
        let line = std::str::from_utf8(&line).map_err(|_| Garbled)?;
        // Other fields, and comments that keep the connection alive, say nothing to us.
        let Some(value) = line.strip_prefix("data") else {
            return Ok(());
        };
        let value = match value.strip_prefix(':') {
            Some(value) => value.strip_prefix(' ').unwrap_or(value),
            None if value.is_empty() => value,
            None => return Ok(()),
        };
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => self.data = Some(value.to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": hello\r\ndata: {\"a\":\"übung 書\"}\r\n\r\nevent: x\ndata:one\ndata: two\n\ndata: [DONE]\n\n";

    #[test]
    fn every_way_to_cut_the_stream_gives_the_same_events() {
        let whole = Parser::default().push(STREAM.as_bytes()).unwrap();
        assert_eq!(whole, ["{\"a\":\"übung 書\"}", "one\ntwo", "[DONE]"]);
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let events: Vec<String> =
                STREAM.as_bytes().chunks(size).flat_map(|piece| parser.push(piece).unwrap()).collect();
            assert_eq!(events, whole, "pieces of {size} bytes");
        }
    }

    #[test]
    fn an_event_that_is_cut_off_is_not_given() {
        assert_eq!(Parser::default().push(b"data: half").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(Parser::default().push(b"data: \xff\xfe\n"), Err(Garbled));
    }
}
