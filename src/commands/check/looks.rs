//! Values that look personal: mail addresses, addresses of networks, telephone numbers, ids and names of players.
//!
//! A value is judged by its form; the name of its field decides where a form has other uses (a version of four numbers
//! is no address, a checksum no player) and finds names, which have no form. UUIDs, times and numbers are never told.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Kinds of personal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    Mail,
    Phone,
    Ipv4,
    Ipv6,
    Puuid,
    HexId,
    Xuid,
    RiotId,
    NamedId,
    NamedName,
    NamedContact,
}

/// Names of fields that hold ids of players, in lower case without underscores.
const ID_NAMES: [&str; 12] = [
    "puuid",
    "summonerid",
    "accountid",
    "playerid",
    "userid",
    "xuid",
    "steamid",
    "steamid64",
    "discordid",
    "psnid",
    "epicid",
    "deviceid",
];
/// Names of fields that hold names of people.
const PERSON_NAMES: [&str; 18] = [
    "summonername",
    "riotid",
    "riotidgamename",
    "riotidname",
    "riotidtagline",
    "gamertag",
    "displayname",
    "nickname",
    "playername",
    "username",
    "firstname",
    "lastname",
    "fullname",
    "surname",
    "realname",
    "battletag",
    "handle",
    "screenname",
];
/// Names of fields that hold ways to reach people.
const CONTACT_NAMES: [&str; 9] = [
    "email",
    "emailaddress",
    "mail",
    "phone",
    "phonenumber",
    "mobile",
    "streetaddress",
    "postaladdress",
    "birthdate",
];

impl Look {
    /// Words for values of the kind.
    pub(super) fn words(self) -> &'static str {
        match self {
            Look::Mail => "mail addresses",
            Look::Phone => "telephone numbers",
            Look::Ipv4 => "IPv4 addresses",
            Look::Ipv6 => "IPv6 addresses",
            Look::Puuid => "player ids (PUUID)",
            Look::HexId => "player ids (64 hex digits)",
            Look::Xuid => "player ids (xuid)",
            Look::RiotId => "player names (name#tag)",
            Look::NamedId => "ids of people, by the field's name",
            Look::NamedName => "names of people, by the field's name",
            Look::NamedContact => "contacts of people, by the field's name",
        }
    }

    /// The kind of tag that an Avro schema would give it.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Look::Mail | Look::Phone | Look::NamedContact => "contact",
            Look::Ipv4 | Look::Ipv6 => "location",
            Look::Puuid | Look::HexId | Look::Xuid | Look::NamedId => "identifier",
            Look::RiotId | Look::NamedName => "name",
        }
    }

    /// True for forms that other values have by chance: they count where at least half of a path's values have them.
    pub(super) fn needs_most(self) -> bool {
        matches!(self, Look::HexId | Look::RiotId | Look::Ipv6)
    }
}

/// The kind of a text at a path, if it looks personal.
pub(super) fn look_at(path: &str, text: &str) -> Option<Look> {
    let text = text.trim();
    let name = field_name(path);
    if text.is_empty() {
        return None;
    }
    let by_form = look_of_form(text, &name);
    by_form.or_else(|| look_of_name(&name))
}

/// The last name of a path, in lower case without underscores.
fn field_name(path: &str) -> String {
    let mut names = path.rsplit('.').map(|name| name.trim_end_matches("[]"));
    let last = names.find(|name| !name.is_empty() && *name != "*").unwrap_or_default();
    last.replace(['_', '-'], "").to_ascii_lowercase()
}

fn look_of_name(name: &str) -> Option<Look> {
    match () {
        () if ID_NAMES.contains(&name) => Some(Look::NamedId),
        () if PERSON_NAMES.contains(&name) => Some(Look::NamedName),
        () if CONTACT_NAMES.contains(&name) => Some(Look::NamedContact),
        () => None,
    }
}

fn look_of_form(text: &str, name: &str) -> Option<Look> {
    let is_checksum =
        ["hash", "sha", "checksum", "digest", "etag", "signature"].iter().any(|part| name.contains(part));
    match () {
        () if find_mail(text).is_some() => Some(Look::Mail),
        () if is_phone(text) => Some(Look::Phone),
        () if is_ipv4(text) && !name.contains("version") => Some(Look::Ipv4),
        () if is_ipv6(text) => Some(Look::Ipv6),
        () if text.len() == 78 && is_url_safe(text) && !is_checksum => Some(Look::Puuid),
        () if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) && !is_checksum => {
            Some(Look::HexId)
        }
        () if is_xuid(text) => Some(Look::Xuid),
        () if is_riot_id(text) => Some(Look::RiotId),
        () => None,
    }
}

/// The first mail address in a text.
fn find_mail(text: &str) -> Option<&str> {
    let outside =
        |c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '\'' | '(' | ')' | '|');
    text.split(outside).map(|word| word.trim_end_matches(['.', '!', '?', ':'])).find(|word| is_mail(word))
}

fn is_mail(word: &str) -> bool {
    let word = word.strip_prefix("mailto:").unwrap_or(word);
    let Some((user, host)) = word.rsplit_once('@') else { return false };
    let is_user = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-');
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-') && !label.starts_with('-')
    };
    let ends = labels.last().is_some_and(|last| last.len() >= 2 && last.chars().all(char::is_alphabetic));
    !user.is_empty() && user.chars().all(is_user) && labels.len() >= 2 && labels.iter().all(is_label) && ends
}

/// Tells whether a text is a telephone number with its country: +49 151 12345678. A plus, seven digits and more.
fn is_phone(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('+').or_else(|| text.strip_prefix("tel:+")) else { return false };
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '(' | ')' | '/');
    (8..=15).contains(&digits)
        && rest.chars().all(is_plain)
        && rest.starts_with(|c: char| ('1'..='9').contains(&c))
}

/// Tells whether a text is an address, with or without a port, of a machine elsewhere.
fn is_ipv4(text: &str) -> bool {
    let host = match text.split_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => text,
    };
    let address: Result<Ipv4Addr, _> = host.parse();
    address
        .is_ok_and(|address| !address.is_unspecified() && !address.is_loopback() && !address.is_broadcast())
}

fn is_ipv6(text: &str) -> bool {
    let host = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => text,
    };
    let host = host.split('%').next().unwrap_or_default();
    let address: Result<Ipv6Addr, _> = host.parse();
    // Two letters of hex with colons may be anything; an address has groups.
    address.is_ok_and(|address| !address.is_unspecified() && !address.is_loopback()) && host.len() > 6
}

fn is_url_safe(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_xuid(text: &str) -> bool {
    let digits = text.strip_prefix("xuid(").and_then(|rest| rest.strip_suffix(')'));
    digits.is_some_and(|digits| digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Tells whether a text is a name of 3 to 16 characters and a tag of 3 to 5: Faker#KR1.
fn is_riot_id(text: &str) -> bool {
    let Some((name, tag)) = text.split_once('#') else { return false };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '.');
    (3..=16).contains(&name.chars().count())
        && name.chars().all(is_name)
        && !name.ends_with(' ')
        && (3..=5).contains(&tag.chars().count())
        && tag.chars().all(char::is_alphanumeric)
}

/// The value with all but a few of its characters hidden.
pub(super) fn masked(look: Look, text: &str) -> String {
    let text = text.trim();
    match look {
        Look::Mail => {
            let mail = find_mail(text).unwrap_or_default();
            let (user, host) = mail.rsplit_once('@').unwrap_or((mail, ""));
            let end = host.rsplit('.').next().unwrap_or_default();
            format!("{}@{}.{end}", shortened(user, 1), shortened(host, 1))
        }
        Look::Xuid => format!("xuid({})", shortened(&text[5..text.len() - 1], 2)),
        Look::RiotId => format!("{}#***", shortened(text, 1)),
        _ => shortened(text, 2),
    }
}

fn shortened(text: &str, shown: usize) -> String {
    text.chars().take(shown).collect::<String>() + "***"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_values_are_found() {
        let puuid = "kE8X5Yc0u3x-2zGk_9fQmW7hVt1RbLpJ4nDsA6oCiTgyUeHqZ0vBxMwNfKrSjPlEaIdOu8Y3bG_WcQ";
        assert_eq!(puuid.len(), 78);
        let hex = "a1935de619b37191416faf971a98795059a6b83afea292b79fceca855d5b3152";
        for (path, text, look, mask) in [
            ("a", "anna.berg+x@example.com", Look::Mail, "a***@e***.com"),
            ("chat", "write to <ben@mail.example.co.uk>, please", Look::Mail, "b***@m***.uk"),
            ("a", "+49 151 12345678", Look::Phone, "+4***"),
            ("a", "+14155550123", Look::Phone, "+1***"),
            ("a", "203.0.113.7", Look::Ipv4, "20***"),
            ("a", "203.0.113.7:5123", Look::Ipv4, "20***"),
            ("a", "2001:db8::8a2e:370:7334", Look::Ipv6, "20***"),
            ("a", "[2001:db8::1]:443", Look::Ipv6, "[2***"),
            ("participants[]", puuid, Look::Puuid, "kE***"),
            ("metadata.participants[]", hex, Look::HexId, "a1***"),
            ("Players[].PlayerId", "xuid(2533277490754884)", Look::Xuid, "xuid(25***)"),
            ("who", "Hide on bush#KR1", Look::RiotId, "H***#***"),
            ("who", "소환사이름#한국서버", Look::RiotId, "소***#***"),
            ("info.participants[].summonerName", "Torpovenel", Look::NamedName, "To***"),
            ("riotIdGameName", "Po龍shishi", Look::NamedName, "Po***"),
            ("p[].summoner_id", "1d382846a7ca0148451a6f2dd0ced2", Look::NamedId, "1d***"),
            ("phone_number", "0151 12345678", Look::NamedContact, "01***"),
        ] {
            assert_eq!(look_at(path, text), Some(look), "{path}: {text}");
            assert_eq!(masked(look, text), mask, "{text}");
        }
    }

    #[test]
    fn other_values_are_none() {
        for (path, text) in [
            ("MatchId", "b4be1c44-5782-42b3-8cf8-0d76dd87230c"),
            ("matchId", "KR_7014499581"),
            ("a", "2025-01-29T04:07:25.964Z"),
            ("a", "04:07:25"),
            ("a", "+01:00"),
            ("a", "PT9M9.4211615S"),
            ("a", "1700000000000"),
            ("gold", "15342"),
            ("gameVersion", "14.7.571.9528"),
            ("game_version", "14.7.57.95"),
            ("a", "1.2.3"),
            ("a", "0.0.0.0"),
            ("a", "127.0.0.1:7414"),
            ("a", "::"),
            ("a", "+1.5"),
            ("a", "+1234567"),
            ("a", "@someone"),
            ("a", "a@b"),
            ("a", "user@localhost"),
            ("a", "C#"),
            ("colour", "#ff00aa"),
            ("a", "teambuilder-match-7014499581"),
            ("a", "106313258183718202|game1"),
            ("a", "Csr/Seasons/CsrSeason9-1.json"),
            ("file_sha256", "a1935de619b37191416faf971a98795059a6b83afea292b79fceca855d5b3152"),
            ("commit", "a928df5c0d1b2a3e4f5061728394a5b6c7d8e9f0"),
            ("championName", "Aatrox"),
            ("name", "Onyx"),
            ("a", "xuid()"),
            ("summonerName", ""),
            ("puuid", " "),
        ] {
            assert_eq!(look_at(path, text), None, "{path}: {text}");
        }
    }
}
