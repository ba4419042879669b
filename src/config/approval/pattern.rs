//! Patterns of rules: for names, paths, commands and hosts.
//!
//! Small on purpose. `*` and `?` are all the wildcards that there are, and a pattern with any other
//! is refused when it is read: a rule that matches something else than its author meant is worse
//! than none. Matching takes at most the product of both lengths.

/// A part of a pattern: what stands for any number of items, or what stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece<T> {
    Any,
    One(T),
}

/// Whether `items` are what the pieces say, as a whole.
fn matches<P, T>(pieces: &[Piece<P>], items: &[T], is: impl Fn(&P, &T) -> bool) -> bool {
    let (mut piece, mut item) = (0, 0);
    // the last `Any`, and the item that it ends before
    let mut last: Option<(usize, usize)> = None;
    while item < items.len() {
        match (pieces.get(piece), items.get(item)) {
            (Some(Piece::Any), _) => {
                last = Some((piece, item));
                piece += 1;
            }
            (Some(Piece::One(one)), Some(this)) if is(one, this) => {
                piece += 1;
                item += 1;
            }
            _ => {
                let Some((any, ends)) = last else {
                    return false;
                };
                last = Some((any, ends + 1));
                (piece, item) = (any + 1, ends + 1);
            }
        }
    }
    let mut rest = pieces.iter().skip(piece);
    rest.all(|piece| matches!(piece, Piece::Any))
}

/// A pattern for a word: `*` is any text, `?` any character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordPattern(Vec<Piece<Option<char>>>);

impl WordPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(found) = text.chars().find(|c| "[]{}\\!".contains(*c)) {
            return Err(format!(
                "`{text}`: a pattern knows no `{found}`, only `*` for any text and `?` for any \
                 character; write a rule for each case"
            ));
        }
        Ok(Self::of(text))
    }

    fn of(text: &str) -> Self {
        let piece = |c| match c {
            '*' => Piece::Any,
            '?' => Piece::One(None),
            c => Piece::One(Some(c)),
        };
        Self(text.chars().map(piece).collect())
    }

    /// Whether the whole word is as the pattern says.
    pub fn matches(&self, word: &str) -> bool {
        let chars: Vec<char> = word.chars().collect();
        matches(&self.0, &chars, |one, c| one.is_none_or(|one| one == *c))
    }
}

/// A pattern for a path: of its folders each is a [`WordPattern`], and `**` is any number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    absolute: bool,
    folders: Vec<Piece<WordPattern>>,
}

impl PathPattern {
    /// Reads a pattern. One that begins with `/` is for absolute paths, any other for paths from
    /// the workspace on.
    pub fn parse(text: &str) -> Result<Self, String> {
        let absolute = text.starts_with('/');
        let mut folders = Vec::new();
        for folder in text.split('/').filter(|folder| !folder.is_empty()) {
            folders.push(match folder {
                "." => continue,
                ".." | "~" => {
                    return Err(format!(
                        "`{text}`: a path is written from the workspace on, or in full from `/` \
                         on, without `{folder}`"
                    ));
                }
                "**" => Piece::Any,
                _ if folder.contains("**") => {
                    return Err(format!(
                        "`{text}`: `**` stands for whole folders; write it between slashes"
                    ));
                }
                folder => Piece::One(WordPattern::parse(folder)?),
            });
        }
        Ok(Self { absolute, folders })
    }

    /// Whether it is for paths from `/` on.
    pub const fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// Whether the path whose folders these are is as the pattern says. `folder/**` is also the
    /// folder itself.
    pub fn matches(&self, folders: &[&str]) -> bool {
        matches(&self.folders, folders, |one, folder| one.matches(folder))
    }
}

/// A pattern for one plain command: a [`WordPattern`] for each of its words, and a `*` that stands
/// alone is any number of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPattern(Vec<Piece<WordPattern>>);

impl CommandPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(found) = text.chars().find(|c| ";|&<>()$`\"'#\n".contains(*c)) {
            return Err(format!(
                "`{text}`: a pattern is for one plain command, so it can hold no `{found}`; a \
                 command that is put together is judged by its parts"
            ));
        }
        let word = |word: &str| match word {
            "*" => Ok(Piece::Any),
            word => WordPattern::parse(word).map(Piece::One),
        };
        let words: Result<Vec<_>, _> = text.split_whitespace().map(word).collect();
        words.map(Self)
    }

    /// Whether the command with these words is as the pattern says.
    pub fn matches(&self, words: &[String]) -> bool {
        matches(&self.0, words, |one, word| one.matches(word))
    }

    /// Whether a command as the pattern says begins with these words, or is the whole of them.
    pub fn begins(&self, words: &[String]) -> bool {
        (1..=words.len()).any(|end| words.get(..end).is_some_and(|words| self.matches(words)))
    }
}

/// A pattern for the host of an address: the host itself, or `*.` and what it ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    name: String,
    /// Only hosts below it.
    below: bool,
}

impl HostPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let host = url::Host::parse(name).ok().map(|host| host.to_string());
        match host {
            Some(name) if !name.contains('*') => Ok(Self { name, below }),
            _ => Err(format!(
                "`{text}` is no host; write it as docs.rs, or *.example.com for all below it"
            )),
        }
    }

    /// Whether that is such a host, as an address names it.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match (host.strip_suffix(&self.name), self.below) {
            (Some(before), true) => before.len() > 1 && before.ends_with('.'),
            (Some(before), false) => before.is_empty(),
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn command(pattern: &str, words: &str) -> bool {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        CommandPattern::parse(pattern).unwrap().matches(&words)
    }

    fn path(pattern: &str, path: &str) -> bool {
        let folders: Vec<&str> = path.split('/').collect();
        PathPattern::parse(pattern).unwrap().matches(&folders)
    }

    #[test]
    fn a_star_in_a_command_is_any_words_alone_and_any_text_within_a_word() {
        assert!(command("git status", "git status"));
        assert!(!command("git status", "git status -s"));
        assert!(command("git status *", "git status"));
        assert!(command("git status *", "git status -s ."));
        assert!(!command("git status *", "git statusx"));
        assert!(command(
            "git push * --force *",
            "git push origin --force main"
        ));
        assert!(command("npm run test:*", "npm run test:unit"));
        assert!(!command("npm run test:*", "npm run test:unit now"));
    }

    #[test]
    fn two_stars_in_a_path_are_any_folders_and_one_star_stays_in_its_folder() {
        assert!(path("src/**", "src/a/b.rs"));
        assert!(path("src/**", "src"));
        assert!(path("src/*.rs", "src/a.rs"));
        assert!(!path("src/*.rs", "src/a/b.rs"));
        assert!(path("**/.env", ".env"));
        assert!(path("**/.env", "a/b/.env"));
        assert!(!path("**/.env", "a/.env.example"));
        assert!(path("a/**/b/*", "a/x/b/y/b/c"));
    }

    #[test]
    fn a_host_is_itself_or_below_it() {
        let is = |pattern: &str, host| HostPattern::parse(pattern).unwrap().matches(host);
        assert!(is("docs.rs", "DOCS.rs."));
        assert!(!is("docs.rs", "evildocs.rs"));
        assert!(is("*.example.com", "a.b.example.com"));
        assert!(!is("*.example.com", "example.com"));
        assert!(!is("*.example.com", ".example.com"));
    }

    #[test]
    fn what_no_pattern_can_mean_is_refused_with_what_can_be_written() {
        let command = CommandPattern::parse("git status; ls").unwrap_err();
        assert!(command.contains("judged by its parts"), "{command}");
        let path = PathPattern::parse("../x").unwrap_err();
        assert!(path.contains("from the workspace on"), "{path}");
        let word = WordPattern::parse("{a,b}").unwrap_err();
        assert!(word.contains("a rule for each case"), "{word}");
        assert!(HostPattern::parse("a.*.com").is_err());
    }

    /// The meaning of a pattern, without regard to time.
    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => (0..=text.len()).any(|at| plainly(rest, &text[at..])),
            (Some(('?', rest)), Some((_, after))) => plainly(rest, after),
            (Some((one, rest)), Some((c, after))) => one == c && plainly(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_word_matches_where_the_plain_reading_of_its_pattern_does(
            pattern in "[ab*?]{0,7}", word in "[ab]{0,8}"
        ) {
            let read: Vec<char> = pattern.chars().collect();
            let chars: Vec<char> = word.chars().collect();
            prop_assert_eq!(WordPattern::of(&pattern).matches(&word), plainly(&read, &chars));
        }
    }
}
