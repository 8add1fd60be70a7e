//! Matches of the demo's world, as the games' APIs return them: the fields that the adapters read.

use connectors::generate::random::Random;
use serde_json::{Value, json};

use super::{FALLING, RISING, USERS, name, puuid, xuid};

/// No match takes longer.
pub const LONGEST_MS: i64 = 34 * 60_000;
const ROLES: [&str; 5] = ["TOP", "JUNGLE", "MIDDLE", "BOTTOM", "UTILITY"];
const CHAMPIONS: [(i32, &str); 20] = [
    (1, "Annie"),
    (11, "MasterYi"),
    (12, "Alistar"),
    (16, "Soraka"),
    (21, "MissFortune"),
    (22, "Ashe"),
    (25, "Morgana"),
    (37, "Sona"),
    (51, "Caitlyn"),
    (54, "Malphite"),
    (64, "LeeSin"),
    (67, "Vayne"),
    (86, "Garen"),
    (89, "Leona"),
    (99, "Lux"),
    (103, "Ahri"),
    (104, "Graves"),
    (222, "Jinx"),
    (238, "Zed"),
    (412, "Thresh"),
];
const HALO_MODES: [(i32, &str); 4] =
    [(6, "slayer"), (18, "oddball"), (15, "capture the flag"), (11, "strongholds")];

/// A time as the APIs write it.
pub fn iso(at_ms: i64) -> String {
    schemas::types::time::format_timestamp(at_ms * 1_000, true)
}

/// A player's part in a match.
#[derive(Clone, Debug)]
struct MatchSeat {
    user: u64,
    kills: i64,
    deaths: i64,
    assists: i64,
}

/// A match of either game.
#[derive(Clone, Debug)]
pub struct Match {
    number: i64,
    start_ms: i64,
    duration_s: i64,
    seats: Vec<MatchSeat>,
    first_team_wins: bool,
}

impl Match {
    /// The match of this number: even ones are League of Legends, odd ones Halo Infinite.
    pub fn new(number: i64, start_ms: i64) -> Match {
        let mut random = Random::new(5, number as u64);
        let lol = number.rem_euclid(2) == 0;
        let (duration_s, players) =
            if lol { (random.between(1_200, 2_000), 10) } else { (random.between(480, 780), 8) };
        let mut users = Vec::new();
        while users.len() < players {
            let user = 1 + random.below(USERS);
            if user != RISING && user != FALLING && !users.contains(&user) {
                users.push(user);
            }
        }
        let first_team_wins = random.below(2) == 0;
        let mut seats = Vec::new();
        for user in users {
            seats.push(play(user, &mut random));
        }
        Match { number, start_ms, duration_s, seats, first_team_wins }
    }

    /// Gives the first seat to a user of this form, 0 to 1.
    pub fn seat_player(&mut self, user: u64, form: f64) {
        let mut random = Random::new(6, self.number as u64);
        let mut seat = play(user, &mut random);
        let more = (10.0 * form) as i64;
        seat.kills = 3 + random.between(0, 2) + more;
        seat.deaths = (7 - more / 2).max(1);
        self.first_team_wins = form > 0.5 || (form > 0.0 && self.first_team_wins);
        self.seats[0] = seat;
    }

    pub fn is_lol(&self) -> bool {
        self.number.rem_euclid(2) == 0
    }

    pub fn topic(&self) -> &'static str {
        if self.is_lol() { "riot.match" } else { "halo.match" }
    }

    pub fn id(&self) -> String {
        let number = 7_000_000_000 + self.number;
        if self.is_lol() { format!("EUW1_{number}") } else { format!("halo-{number}") }
    }

    pub fn number(&self) -> i64 {
        self.number
    }

    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    pub fn end_ms(&self) -> i64 {
        self.start_ms + self.duration_s * 1_000
    }

    pub fn first_user(&self) -> u64 {
        self.seats[0].user
    }

    pub fn first_kills(&self) -> i64 {
        self.seats[0].kills
    }

    /// Everyone in the match.
    pub fn users(&self) -> Vec<u64> {
        let mut users = Vec::new();
        for seat in &self.seats {
            users.push(seat.user);
        }
        users
    }

    /// The body, with so many kills of the first player missing; fewer than none are kills too many.
    pub fn body(&self, missing: i64) -> String {
        let mut one = self.clone();
        one.seats[0].kills = (one.seats[0].kills - missing).max(0);
        let body = if self.is_lol() { one.riot_body() } else { one.halo_body() };
        body.to_string()
    }

    /// A body that breaks a constraint.
    pub fn body_without_players(&self) -> String {
        let one = Match { seats: Vec::new(), ..self.clone() };
        let body = if self.is_lol() { one.riot_body() } else { one.halo_body() };
        body.to_string()
    }

    /// A value for each player.
    fn of_each(&self, value: fn(&Match, usize) -> Value) -> Vec<Value> {
        let mut values = Vec::new();
        for at in 0..self.seats.len() {
            values.push(value(self, at));
        }
        values
    }

    fn is_first_team(&self, at: usize) -> bool {
        at < self.seats.len() / 2
    }

    fn wins(&self, at: usize) -> bool {
        self.is_first_team(at) == self.first_team_wins
    }

    /// Kills of both teams.
    fn team_kills(&self) -> [i64; 2] {
        let mut kills = [0, 0];
        for (at, seat) in self.seats.iter().enumerate() {
            kills[usize::from(!self.is_first_team(at))] += seat.kills;
        }
        kills
    }

    fn champion(&self, at: usize) -> (i32, &'static str) {
        let user = self.seats[at].user as i64;
        CHAMPIONS[(user * 3 + self.number.rem_euclid(3)) as usize % CHAMPIONS.len()]
    }

    fn riot_body(&self) -> Value {
        let participants = self.of_each(Match::riot_player);
        let kills = self.team_kills();
        let mut teams = Vec::new();
        for team in 0..2 {
            let ban = CHAMPIONS[(self.number.rem_euclid(17) + team) as usize].0;
            let win = (team == 0) == self.first_team_wins;
            teams.push(json!({
                "teamId": 100 * (team + 1), "win": win,
                "bans": [{"championId": ban, "pickTurn": team + 1}],
                "objectives": {
                    "champion": {"first": team == 0, "kills": kills[team as usize]},
                    "tower": {"first": win, "kills": if win { 9 } else { 3 }},
                },
            }));
        }
        json!({
            "metadata": {"matchId": self.id()},
            "info": {
                "platformId": "EUW1", "gameId": 7_000_000_000 + self.number, "gameMode": "CLASSIC", "queueId": 420,
                "mapId": 11, "gameVersion": "16.1.571.9528", "gameStartTimestamp": self.start_ms,
                "gameEndTimestamp": self.end_ms(), "gameDuration": self.duration_s,
                "endOfGameResult": "GameComplete", "participants": participants, "teams": teams,
            },
        })
    }

    fn riot_player(&self, at: usize) -> Value {
        let seat = &self.seats[at];
        let (champion_id, champion) = self.champion(at);
        json!({
            "participantId": at + 1, "puuid": puuid(seat.user), "riotIdGameName": name(seat.user),
            "riotIdTagline": "EUW", "championId": champion_id, "championName": champion,
            "teamId": if self.is_first_team(at) { 100 } else { 200 }, "teamPosition": ROLES[at % 5],
            "win": self.wins(at), "gameEndedInEarlySurrender": false, "timePlayed": self.duration_s,
            "kills": seat.kills, "deaths": seat.deaths, "assists": seat.assists,
            "largestKillingSpree": seat.kills / 2, "totalMinionsKilled": self.duration_s / 10 + seat.kills,
            "neutralMinionsKilled": 8, "goldEarned": 6_000 + 350 * seat.kills + 150 * seat.assists,
            "totalDamageDealtToChampions": 5_000 + 1_400 * seat.kills,
            "totalDamageTaken": 9_000 + 1_100 * seat.deaths, "visionScore": 15 + seat.assists,
        })
    }

    fn halo_body(&self) -> Value {
        let players = self.of_each(Match::halo_player);
        let kills = self.team_kills();
        let mut teams = Vec::new();
        for (team, kills) in kills.into_iter().enumerate() {
            let win = (team == 0) == self.first_team_wins;
            let core = json!({"Score": kills, "Kills": kills});
            teams.push(json!({
                "TeamId": team, "Outcome": if win { 2 } else { 3 }, "Rank": if win { 1 } else { 2 },
                "Stats": {"CoreStats": core},
            }));
        }
        let duration = format!("PT{}M{}S", self.duration_s / 60, self.duration_s % 60);
        json!({
            "MatchId": self.id(),
            "MatchInfo": {
                "StartTime": iso(self.start_ms), "EndTime": iso(self.end_ms()), "Duration": duration,
                "PlayableDuration": duration, "LifecycleMode": 3, "GameVariantCategory": self.halo_mode().0,
                "MapVariant": {"AssetId": format!("map-{}", self.number.rem_euclid(5))},
                "Playlist": {"AssetId": "ranked-arena"}, "SeasonId": "1", "TeamsEnabled": true,
            },
            "Teams": teams,
            "Players": players,
        })
    }

    fn halo_player(&self, at: usize) -> Value {
        let seat = &self.seats[at];
        let team = i32::from(!self.is_first_team(at));
        let fired = 120 + 14 * seat.kills;
        json!({
            "PlayerId": xuid(seat.user), "PlayerType": 1, "LastTeamId": team,
            "Outcome": if self.wins(at) { 2 } else { 3 }, "Rank": at + 1,
            "ParticipationInfo": {
                "LeftInProgress": false, "PresentAtCompletion": true,
                "TimePlayed": format!("PT{}M{}S", self.duration_s / 60, self.duration_s % 60),
            },
            "PlayerTeamStats": [{"TeamId": team, "Stats": {"CoreStats": {
                "Score": seat.kills, "PersonalScore": 100 * seat.kills + 50 * seat.assists, "Kills": seat.kills,
                "Deaths": seat.deaths, "Assists": seat.assists, "MaxKillingSpree": seat.kills / 2,
                "ShotsFired": fired, "ShotsHit": fired / 2, "DamageDealt": 800 + 260 * seat.kills,
                "DamageTaken": 900 + 240 * seat.deaths,
                "Medals": [{"NameId": 622_331_684, "Count": 1, "TotalPersonalScoreAwarded": 0}],
                "PersonalScores": [{
                    "NameId": 1_024_030_246, "Count": seat.kills, "TotalPersonalScoreAwarded": 100 * seat.kills,
                }],
            }}}],
        })
    }

    fn halo_mode(&self) -> (i32, &'static str) {
        HALO_MODES[(self.number.rem_euclid(8) / 2) as usize]
    }

    /// A timeline with the frames at the start, at 10 and at 15 minutes.
    pub fn timeline(&self) -> Value {
        let frames = [self.frame(0), self.frame(10), self.frame(15)];
        json!({"metadata": {"matchId": self.id()}, "info": {"frames": frames}})
    }

    fn frame(&self, minute: i64) -> Value {
        let mut players = serde_json::Map::new();
        for (at, seat) in self.seats.iter().enumerate() {
            players.insert(
                (at + 1).to_string(),
                json!({
                    "totalGold": 500 + minute * (300 + 9 * seat.kills), "xp": 450 * minute,
                    "minionsKilled": 6 * minute, "jungleMinionsKilled": minute, "level": 1 + minute / 2,
                }),
            );
        }
        let killer = if self.first_team_wins { 1 } else { 6 };
        let events = if minute == 10 {
            let team_id = if killer == 1 { 100 } else { 200 };
            json!([
                {"type": "CHAMPION_KILL", "timestamp": 190_000, "killerId": killer, "victimId": 7 - killer},
                {
                    "type": "ELITE_MONSTER_KILL", "timestamp": 420_000, "killerId": killer,
                    "killerTeamId": team_id, "monsterType": "DRAGON",
                },
            ])
        } else {
            json!([])
        };
        json!({"timestamp": minute * 60_000 + 12, "participantFrames": players, "events": events})
    }

    /// The skill of the players: expectations of the matchmaker, and ratings before and after.
    pub fn skill(&self) -> Value {
        json!({"Value": self.of_each(Match::player_skill)})
    }

    fn player_skill(&self, at: usize) -> Value {
        let seat = &self.seats[at];
        let rating = 900.0 + 500.0 * skill(seat.user);
        json!({"Id": xuid(seat.user), "ResultCode": 0, "Result": {
            "TeamMmr": rating,
            "RankRecap": {
                "PreMatchCsr": {"Value": rating, "Tier": "Diamond", "SubTier": 2},
                "PostMatchCsr": {"Value": rating + 5.0, "Tier": "Diamond", "SubTier": 2},
            },
            "StatPerformances": {
                "Kills": {"Count": seat.kills, "Expected": 8.0 * skill(seat.user), "StdDev": 3.5},
                "Deaths": {"Count": seat.deaths, "Expected": 6.5, "StdDev": 2.5},
            },
        }})
    }

    fn mode(&self) -> &'static str {
        if self.is_lol() { "CLASSIC" } else { self.halo_mode().1 }
    }

    fn player_id(&self, user: u64) -> String {
        if self.is_lol() { puuid(user) } else { xuid(user) }
    }

    fn team_id(&self, first: bool) -> i32 {
        match (self.is_lol(), first) {
            (true, true) => 100,
            (true, false) => 200,
            (false, first) => i32::from(!first),
        }
    }

    fn live_player(&self, at: usize) -> Value {
        let user = self.seats[at].user;
        json!({
            "player_id": self.player_id(user), "player_name": name(user),
            "team_id": self.team_id(self.is_first_team(at)),
        })
    }

    pub fn live_start(&self) -> Value {
        let players = self.of_each(Match::live_player);
        json!({
            "game": if self.is_lol() { "lol" } else { "halo" }, "match_id": self.id(), "mode": self.mode(),
            "queue": if self.is_lol() { "420" } else { "ranked-arena" }, "started_at": iso(self.start_ms),
            "occurred_at": iso(self.start_ms), "players": players,
        })
    }

    /// The state at a moment: everyone's numbers grow evenly.
    pub fn live_update(&self, at_ms: i64) -> Value {
        let part = (at_ms - self.start_ms) as f64 / (self.duration_s * 1_000) as f64;
        let so_far = |count: i64| (count as f64 * part) as i64;
        let mut players = Vec::new();
        for seat in &self.seats {
            players.push(json!({
                "player_id": self.player_id(seat.user), "kills": so_far(seat.kills),
                "deaths": so_far(seat.deaths), "assists": so_far(seat.assists), "gold": so_far(10_000),
            }));
        }
        let kills = self.team_kills().map(so_far);
        json!({
            "game": if self.is_lol() { "lol" } else { "halo" }, "match_id": self.id(),
            "at_s": (at_ms - self.start_ms) / 1_000, "occurred_at": iso(at_ms), "players": players,
            "teams": [
                {"team_id": self.team_id(true), "score": kills[0], "kills": kills[0]},
                {"team_id": self.team_id(false), "score": kills[1], "kills": kills[1]},
            ],
        })
    }
}

/// The hidden skill, about 1.
fn skill(user: u64) -> f64 {
    let mut random = Random::new(3, user);
    0.4 + 0.3 * (random.unit() + random.unit() + random.unit() + random.unit())
}

fn play(user: u64, random: &mut Random) -> MatchSeat {
    let skill = skill(user);
    let count = |random: &mut Random, mean: f64| ((0.4 + 1.2 * random.unit()) * mean) as i64;
    MatchSeat {
        user,
        kills: count(random, 7.0 * skill),
        deaths: count(random, 6.0 / skill),
        assists: count(random, 8.0),
    }
}
