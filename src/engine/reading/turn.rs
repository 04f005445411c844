use std::sync::atomic::AtomicBool;

/// How a reading takes turns with the processes that share its tier.
#[derive(Debug, Default)]
pub(in crate::engine) struct ReadingTurn {
    /// Whether it waits while another process reads the same, and others wait for it.
    pub(in crate::engine) is_taken: bool,
    /// Whether it waits for those who take its rows, and reads nothing meanwhile.
    pub(in crate::engine) is_held_up: AtomicBool,
    /// Whether something of its span was taken over from another process.
    pub(in crate::engine) has_news: AtomicBool,
}
