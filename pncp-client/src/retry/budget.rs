use std::sync::Mutex;

use crate::settings::RetrySettings;

/// Retries that the process may still make.
///
/// Each call earns a fraction of one and each success a whole one, up to the reserve; so when
/// nothing answers any more, N calls make at most `N × (1 + ratio) + reserve` requests, while
/// scattered faults are always retried.
#[derive(Debug)]
pub(crate) struct Budget {
    tokens: Mutex<f64>,
    ratio: f64,
    reserve: f64,
}

impl Budget {
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        let reserve = f64::from(settings.budget_reserve);
        Self {
            tokens: Mutex::new(reserve),
            ratio: settings.budget_ratio,
            reserve,
        }
    }

    pub(crate) fn call_begun(&self) {
        self.add(self.ratio, f64::INFINITY);
    }

    pub(crate) fn succeeded(&self) {
        self.add(1.0, self.reserve);
    }

    /// Whether a retry may be made; it is then spent.
    pub(crate) fn take(&self) -> bool {
        let mut tokens = self.lock();
        let enough = *tokens >= 1.0;
        if enough {
            *tokens -= 1.0;
        }
        enough
    }

    fn add(&self, earned: f64, most: f64) {
        let mut tokens = self.lock();
        *tokens = (*tokens + earned)
            .min(most.max(*tokens))
            .min(self.reserve.max(1.0) * 2.0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, f64> {
        self.tokens
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_outage_costs_a_fifth_at_most() {
        let budget = Budget::new(&RetrySettings::default());
        for _ in 0..5_000 {
            budget.succeeded();
        }
        let (mut wanted, mut sent) = (0, 0);
        for _ in 0..200 {
            wanted += 1;
            budget.call_begun();
            sent += 1;
            for _ in 0..7 {
                if budget.take() {
                    sent += 1;
                }
            }
        }
        assert!(
            f64::from(sent) <= 1.2 * f64::from(wanted),
            "{sent} of {wanted}"
        );
    }

    #[test]
    fn scattered_faults_are_always_retried() {
        let budget = Budget::new(&RetrySettings::default());
        for _ in 0..1_000 {
            budget.call_begun();
            assert!(budget.take());
            budget.succeeded();
        }
    }
}
