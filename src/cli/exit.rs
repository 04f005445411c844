use std::process::{ExitCode, Termination};

use crate::server::stop::Signal;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It succeeded, or stopped in order.
    Done,
    /// It failed while starting or running.
    Failed,
    /// Its settings are wrong: EX_USAGE of sysexits.h.
    BadSettings,
    /// A second signal ended it.
    EndedBy(Signal),
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadSettings => 64,
            Self::EndedBy(signal) => signal.exit_code(),
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
