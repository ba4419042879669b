//! Which broadcasts a viewer wants: a category, an exact event name, a prefix `x_*`, or `*`. Pure.

/// The category of an event: what stands before its first underscore, but for the names that
/// start with another word. The lead never sends it; viewers filter by it.
pub(crate) fn category(event: &str) -> &str {
    match event {
        "before_agent_start" => "agent",
        "user_prompt" => "message",
        _ => event.split_once('_').map_or(event, |(head, _)| head),
    }
}

/// A viewer's patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    All,
    Prefix(String),
    /// An event name or a category: the two share one namespace.
    Name(String),
}

/// More patterns than any viewer needs; the rest is ignored so that a frame costs a bounded time.
const MAX_PATTERNS: usize = 64;

impl Filter {
    /// The filter of these patterns; without any, it lets everything through but the frames of
    /// the remote control, which only the ones who ask for them get.
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let patterns = patterns
            .into_iter()
            .map(str::trim)
            .filter(|pattern| !pattern.is_empty())
            .take(MAX_PATTERNS)
            .map(|pattern| match pattern.strip_suffix('*') {
                Some("") => Pattern::All,
                Some(prefix) => Pattern::Prefix(prefix.to_owned()),
                None => Pattern::Name(pattern.to_owned()),
            })
            .collect();
        Self { patterns }
    }

    /// Everything: what a controller gets.
    pub(crate) fn all() -> Self {
        Self {
            patterns: vec![Pattern::All],
        }
    }

    /// Whether `event` passes.
    pub(crate) fn passes(&self, event: &str) -> bool {
        let category = category(event);
        if self.patterns.is_empty() {
            return category != "rpc";
        }
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::All => true,
            Pattern::Prefix(prefix) => event.starts_with(prefix),
            Pattern::Name(name) => name == event || name == category,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_category_an_event_a_prefix_or_everything() {
        let filter = Filter::new(["task", "message_end", "session_*"]);
        for passed in ["task_start", "message_end", "session_label_updated"] {
            assert!(filter.passes(passed), "{passed}");
        }
        for held in ["message_update", "tool_call", "rpc_response"] {
            assert!(!filter.passes(held), "{held}");
        }
        assert!(Filter::new(["agent"]).passes("before_agent_start"));
        assert!(Filter::new(["*"]).passes("rpc_response"));
    }

    #[test]
    fn no_pattern_means_all_but_the_remote_control() {
        let filter = Filter::new([" ", ""]);
        assert!(filter.passes("message_update"));
        assert!(!filter.passes("rpc_response"));
    }
}
