//! The client's end of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Failure;
use crate::control::protocol::{Command, Reply, Request};

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    pub fn connect(socket: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).map_err(|error| {
            let fix = match error.kind() {
                io::ErrorKind::PermissionDenied => "only root may do that",
                _ => "this works on a node, where jitsud runs; over SSH: ssh root@NODE jitsuctl list",
            };
            Failure::NoDaemon(format!("the daemon cannot be reached at {}: {error}; {fix}", socket.display()))
        })?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Waits until the daemon hangs up.
    pub fn end(mut self) -> Result<(), Failure> {
        Ok(io::copy(&mut self.stream, &mut io::sink()).map(drop)?)
    }

    /// Sends a request, and hands each message that comes for it to `take`, until the last one.
    pub fn ask(
        &mut self,
        command: Command,
        mut take: impl FnMut(Reply) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&Request::new(command)).map_err(io::Error::from)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(Failure::NoDaemon(
                    "the daemon has hung up; it is ending, or begins anew".to_owned(),
                ));
            }
            match serde_json::from_str(&line) {
                Ok(Reply::Done {}) => return Ok(()),
                Ok(Reply::Error { kind, message }) => return Err(Failure::Refused(kind, message)),
                Ok(reply @ Reply::Reloading {}) => return take(reply),
                Ok(reply) => take(reply)?,
                // A kind of message that only a newer daemon knows.
                Err(error) if error.is_data() => {}
                Err(error) => {
                    return Err(Failure::NoDaemon(format!("what the daemon says makes no sense: {error}")));
                }
            }
        }
    }
}
