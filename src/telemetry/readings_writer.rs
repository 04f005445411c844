//! Writes readings as metrics.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Writes readings as metrics.
pub(super) struct ReadingsWriter<'e>(pub(super) DescriptorEncoder<'e>);

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point by their format")]
impl ReadingsWriter<'_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    pub(super) fn classes(
        &mut self,
        name: &str,
        help: &str,
        values: &[(&'static str, usize)],
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (class, value) in values {
            ConstGauge::new(*value as f64).encode(family.encode_family(&[("class", *class)])?)?;
        }
        Ok(())
    }

    pub(super) fn seconds(&mut self, name: &str, help: &str, values: &[(&'static str, f64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (operation, seconds) in values {
            ConstCounter::new(*seconds).encode(family.encode_family(&[("operation", *operation)])?)?;
        }
        Ok(())
    }

    pub(super) fn time(&mut self, name: &str, help: &str, time: Duration) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(time.as_secs_f64()).encode(metric)
    }

    pub(super) fn outcomes(&mut self, name: &str, help: &str, counts: &[(&'static str, u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (outcome, count) in counts {
            ConstCounter::new(*count).encode(family.encode_family(&[("outcome", *outcome)])?)?;
        }
        Ok(())
    }
}
