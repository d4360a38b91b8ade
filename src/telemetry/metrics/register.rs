//! Makes metrics and registers them.

use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::{Counter, MetricFamily, MetricType};
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

/// A registry, and what is in it also before anything is counted.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) registry: Registry,
    families: Mutex<Vec<Family>>,
}

/// What is said of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) labels: Vec<String>,
}

impl Catalogue {
    /// All metrics, in the order in which they were made.
    #[cfg(test)]
    pub(super) fn families(&self) -> Vec<Family> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, collector: &impl Collector) {
        let families = collector.desc().into_iter().map(|desc| {
            let constant = desc.const_label_pairs.iter().map(|pair| pair.name().to_owned());
            let labels = constant.chain(desc.variable_labels.iter().cloned()).collect();
            Family { name: desc.fq_name.clone(), help: desc.help.clone(), labels }
        });
        self.families.lock().unwrap_or_else(PoisonError::into_inner).extend(families);
    }
}

/// Makes metrics; each is in the registry when it is returned.
///
/// # Errors
/// Of every method: only when two metrics have one name, which a test would show.
pub(super) struct Register<'r>(pub &'r Catalogue);

impl Register<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn float_counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec> {
        self.add(CounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A counter whose value is kept elsewhere and set when it is shown.
    pub(super) fn total(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add_total(IntGauge::new(name, help)?)
    }

    /// The same with labels.
    pub(super) fn totals(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add_total(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// The same of a fraction.
    pub(super) fn float_total(&self, name: &str, help: &str) -> Result<Gauge> {
        self.add_total(Gauge::new(name, help)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.add(Gauge::new(name, help)?)
    }

    pub(super) fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    pub(super) fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<HistogramVec> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }

    /// A gauge that is always 1, for what its label says.
    pub(super) fn fact(&self, name: &str, help: &str, label: &str, value: &str) -> Result<()> {
        self.add(IntGauge::with_opts(Opts::new(name, help).const_label(label, value))?)?.set(1);
        Ok(())
    }

    /// A collector of its own kind.
    pub(super) fn add<T: Collector + Clone + 'static>(&self, metric: T) -> Result<T> {
        self.0.note(&metric);
        self.0.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn add_total<T: Collector + Clone + 'static>(&self, gauge: T) -> Result<T> {
        self.add(Total(gauge)).map(|Total(gauge)| gauge)
    }
}

/// A gauge that is shown as the counter that its value is.
#[derive(Clone)]
struct Total<G>(G);

impl<G: Collector> Collector for Total<G> {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        for family in &mut families {
            family.set_field_type(MetricType::COUNTER);
            for metric in family.mut_metric() {
                let mut counter = Counter::default();
                counter.set_value(metric.get_gauge().get_value());
                metric.set_counter(counter);
            }
        }
        families
    }
}
