use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::connections::{ConnectionCounts, CutReason};
use super::log::dropped_log_lines;
use super::process;
use super::pulse::Pulse;

/// The state of the process, apart from what the operating system knows about it. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// The heartbeat of its engine.
    pub pulse: Pulse,
    /// The counts of its connections.
    pub connections: ConnectionCounts,
}

/// Encodes the state of the process as metrics.
#[derive(Debug)]
pub(super) struct VitalsCollector(pub(super) Vitals);

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point by their format")]
impl Collector for VitalsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        if let Some(bytes) = process::resident_bytes() {
            gauge("process_resident_memory_bytes", "Resident memory", bytes as f64)?;
        }
        if let Some(files) = process::open_files() {
            gauge("process_open_fds", "Open files", files as f64)?;
        }
        if let Some(files) = process::file_handles() {
            gauge("process_max_fds", "Maximum number of open files", files as f64)?;
        }
        if let Some(bytes) = process::virtual_bytes() {
            gauge("process_virtual_memory_bytes", "Virtual memory", bytes as f64)?;
        }
        let is_stalled = if self.0.pulse.is_stalled() { 1.0 } else { 0.0 };
        gauge("fanfold_engine_stalled", "1 while the engine makes no progress", is_stalled)?;
        let connections = self.0.connections.opened() as f64;
        gauge("fanfold_connections", "Open connections", connections)?;
        if let Some(seconds) = process::cpu_seconds() {
            let help = "CPU time used";
            let metric = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        let help = "Log lines dropped because nobody read them";
        let metric =
            encoder.encode_descriptor("fanfold_log_lines_dropped", help, None, MetricType::Counter)?;
        ConstCounter::new(dropped_log_lines()).encode(metric)?;
        let help = "Connections, streams and requests that were not served to their end, by reason";
        let mut family =
            encoder.encode_descriptor("fanfold_connections_cut", help, None, MetricType::Counter)?;
        for why in CutReason::ALL {
            let cuts = ConstCounter::new(self.0.connections.cuts(why));
            cuts.encode(family.encode_family(&[("why", why.as_str())])?)?;
        }
        Ok(())
    }
}
