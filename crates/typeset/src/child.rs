//! The child side: reads one request, typesets, answers.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::protocol::{Done, Failure, Reply, Request};
use crate::{fit, render};

/// Serves one request and gives the exit code of the process: 0 if the PDF was written, 1 if the reply says
/// why not, 2 if not even a reply could be written. It limits the address space of the process it runs in.
pub fn run_child(stdin: impl Read, mut stdout: impl Write) -> u8 {
    let reply = match serve(stdin) {
        Ok(done) => Reply::Done(done),
        Err(failure) => Reply::Failed(failure),
    };
    let code = match reply {
        Reply::Done(_) => 0,
        Reply::Failed(_) => 1,
    };
    let written = serde_json::to_writer(&mut stdout, &reply).map_err(std::io::Error::from);
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) => 2,
    }
}

fn serve(mut stdin: impl Read) -> Result<Done, Failure> {
    let mut request = Vec::new();
    stdin.read_to_end(&mut request).map_err(io_failure)?;
    let request: Request<'_> =
        serde_json::from_slice(&request).map_err(|error| Failure::Io { message: error.to_string() })?;
    if let Some(bytes) = request.memory_limit_bytes {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        setrlimit(Resource::As, limit).map_err(|errno| io_failure(errno.into()))?;
    }
    let (rendered, limit, layouts) = match request.target_pages {
        Some(target) => {
            let fitted = fit(&request.book, target)?;
            (fitted.rendered, fitted.limit, fitted.layouts)
        }
        None => (render(&request.book)?, None, 1),
    };
    std::fs::write(&request.out_path, &rendered.pdf).map_err(io_failure)?;
    let pdf_bytes = rendered.pdf.len() as u64;
    Ok(Done { pages: rendered.pages, limit, layouts, headings: rendered.headings, pdf_bytes })
}

fn io_failure(error: std::io::Error) -> Failure {
    Failure::Io { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_cannot_be_read_is_answered_with_an_error() {
        let mut answer = Vec::new();
        assert_eq!(run_child(&b"{\"book\": 1"[..], &mut answer), 1);
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["error"], "io");
    }

    #[test]
    fn a_reply_that_nobody_takes_is_a_failure() {
        assert_eq!(run_child(&b""[..], &mut [0_u8; 1][..]), 2);
    }
}
