use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::connections::{ConnectionCounts, CutReason};
use super::log::dropped_log_lines;
use super::process;
use super::pulse::Pulse;
use super::readings_writer::ReadingsWriter;

/// What the process itself reports of its state; the operating system reports the rest. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// The heartbeat of the engine.
    pub pulse: Pulse,
    /// The counts of public connections.
    pub connections: ConnectionCounts,
}

/// Encodes the state of the process as metrics.
#[derive(Debug)]
pub(super) struct VitalsCollector(pub(super) Vitals);

impl Collector for VitalsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = ReadingsWriter(encoder);
        if let Some(bytes) = process::resident_bytes() {
            writer.gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Some(files) = process::open_files() {
            writer.gauge("process_open_fds", "Open files", files)?;
        }
        if let Some(files) = process::file_handles() {
            // As u64, because the library can't encode usize::MAX, which stands for no limit.
            writer.gauge("process_max_fds", "Maximum number of open files", files as u64)?;
        }
        if let Some(bytes) = process::virtual_bytes() {
            writer.gauge("process_virtual_memory_bytes", "Virtual memory", bytes)?;
        }
        let is_stalled = u32::from(self.0.pulse.is_stalled());
        writer.gauge("fanfold_engine_stalled", "1 while the engine makes no progress", is_stalled)?;
        writer.gauge("fanfold_connections", "Open connections", self.0.connections.opened())?;
        if let Some(seconds) = process::cpu_seconds() {
            writer.counter("process_cpu_seconds", "CPU time used", seconds)?;
        }
        let help = "Log lines dropped because nobody read them";
        writer.counter("fanfold_log_lines_dropped", help, dropped_log_lines())?;
        let help = "Connections, streams and requests that were not served to their end, by reason";
        let cuts = CutReason::ALL.map(|why| (why.as_str(), self.0.connections.cuts(why)));
        writer.counters("fanfold_connections_cut", help, "why", &cuts)
    }
}
