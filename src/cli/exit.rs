use std::process::{ExitCode, Termination};

use crate::server::stop::Signal;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command succeeded, or stopped in order.
    Done,
    /// The command failed while starting or running.
    Failed,
    /// The settings are wrong: EX_USAGE of sysexits.h.
    BadSettings,
    /// A signal ended the command at once.
    EndedBy(Signal),
    /// The reader of its standard output is gone.
    ReaderGone,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadSettings => 64,
            Self::EndedBy(signal) => signal.exit_code(),
            // 128 and the number of SIGPIPE, as a shell reports it.
            Self::ReaderGone => 141,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
