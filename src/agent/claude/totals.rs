//! What a turn has used so far.
//!
//! `result.modelUsage` counts the process from its start, sub-agents included, and wins; a result
//! without it (interrupted, failed at once) is added up from what the messages said, so that a
//! turn that dies still tells what it cost.

use serde::{Deserialize, Serialize};

use super::record::{ResultRecord, TokenCounts};
use crate::event::{Event, Usage};

/// Tokens so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    /// As of the last result.
    reported: Usage,
    /// As of the turn's start: in live form a process counts on from turn to turn.
    #[serde(default)]
    base: Usage,
    /// Of whole messages since then.
    since: Usage,
    /// Of the message that is being streamed.
    open: Option<TokenCounts>,
    /// What the last message of the main conversation left in the context.
    context: u64,
}

impl Totals {
    /// What was counted so far belongs to the turns before.
    pub(super) fn turn_begins(&mut self) {
        self.base = self.reported.clone();
    }

    /// `message_start`
    pub(super) fn start(&mut self, counts: Option<TokenCounts>) {
        self.fold();
        self.open = counts;
    }

    /// `message_delta`: the message's counts, whole.
    pub(super) fn update(&mut self, counts: TokenCounts, in_main: bool) {
        self.open = Some(counts);
        self.context(counts, in_main);
    }

    /// A message's counts, for the context only: in whole messages the output is wrong.
    pub(super) fn context(&mut self, counts: TokenCounts, in_main: bool) {
        let usage = Usage::from(counts);
        let used = [
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.output_tokens,
        ];
        let used = used.into_iter().fold(0, u64::saturating_add);
        if in_main && used > 0 {
            self.context = used;
        }
    }

    /// `result`: the totals, and how full the context is.
    pub(super) fn result(
        &mut self,
        result: &ResultRecord<'_>,
        model: Option<&str>,
        out: &mut Vec<Event>,
    ) {
        self.fold();
        let since = std::mem::take(&mut self.since);
        let models = result
            .model_usage
            .as_ref()
            .filter(|models| !models.is_empty());
        let told = result.usage.map(Usage::from).unwrap_or_default();
        let mut usage = self.reported.clone();
        if let Some(models) = models {
            usage = Usage::default();
            for model in models.values() {
                add(&mut usage, &(*model).into());
            }
            usage.cost_usd = result.total_cost_usd;
        } else if told == Usage::default() && since != told {
            // interrupted: the CLI says that nothing was used, and so nothing of the cost either
            add(&mut usage, &since);
        } else {
            add(&mut usage, &told);
            usage.cost_usd = result.total_cost_usd.or(usage.cost_usd);
        }
        self.reported = usage;
        out.push(Event::Usage(self.of_turn()));
        if self.context > 0 {
            let window = models.and_then(|models| models.get(model?)?.context_window);
            out.push(Event::Context {
                used_tokens: self.context,
                max_tokens: window,
            });
        }
    }

    /// The process is gone: what was used after the last result.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        self.fold();
        if self.since != Usage::default() {
            add(&mut self.reported, &std::mem::take(&mut self.since));
            out.push(Event::Usage(self.of_turn()));
        }
    }

    fn of_turn(&self) -> Usage {
        let (all, base) = (&self.reported, &self.base);
        Usage {
            input_tokens: all.input_tokens.saturating_sub(base.input_tokens),
            output_tokens: all.output_tokens.saturating_sub(base.output_tokens),
            cache_read_tokens: all.cache_read_tokens.saturating_sub(base.cache_read_tokens),
            cache_write_tokens: all
                .cache_write_tokens
                .saturating_sub(base.cache_write_tokens),
            cost_usd: match (all.cost_usd, base.cost_usd) {
                (Some(all), Some(base)) => Some((all - base).max(0.0)),
                (cost, _) => cost,
            },
        }
    }

    fn fold(&mut self) {
        if let Some(counts) = self.open.take() {
            add(&mut self.since, &counts.into());
        }
    }
}

fn add(to: &mut Usage, more: &Usage) {
    to.input_tokens = to.input_tokens.saturating_add(more.input_tokens);
    to.output_tokens = to.output_tokens.saturating_add(more.output_tokens);
    to.cache_read_tokens = to.cache_read_tokens.saturating_add(more.cache_read_tokens);
    to.cache_write_tokens = to
        .cache_write_tokens
        .saturating_add(more.cache_write_tokens);
}
