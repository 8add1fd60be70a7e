-- One person, three ids: the orders that are due are asked for before the first is sent.

-- topology ../11_people.sql
-- topology ../12_erasures.sql

-- feed profiles
{"user_id":"u1","display_name":"Anna","accounts":[{"game":"lol","player_id":"anna"},{"game":"halo","player_id":"xuid(1)"},{"game":"halo","player_id":null}],"updated_at":"2024-05-01T09:00:00Z"}
{"user_id":"u2","display_name":"Ben","accounts":[{"game":"lol","player_id":"ben"},{"game":"halo","player_id":"xuid(1)"}],"updated_at":"2024-05-01T09:00:00Z"}
{"user_id":"u3","display_name":"Cleo","accounts":null,"updated_at":"2024-05-01T09:00:00Z"}
-- feed sessions_created
{"session_id":"s1","user_id":"u1","device":"pc","occurred_at":"2024-05-01T09:01:00Z"}
-- expect user_ids
{"user_id":"u1","game":"halo","id":"xuid(1)","users":2}
{"user_id":"u1","game":"lol","id":"anna","users":1}
{"user_id":"u1","game":"user","id":"u1","users":1}
{"user_id":"u2","game":"halo","id":"xuid(1)","users":2}
{"user_id":"u2","game":"lol","id":"ben","users":1}
{"user_id":"u2","game":"user","id":"u2","users":1}
{"user_id":"u3","game":"user","id":"u3","users":1}
-- expect user_sessions
{"session_id":"s1","user_id":"u1","device":"pc","began_at":"2024-05-01T09:01:00.000000Z","ended_at":null,"duration_s":null,"reason":null}

-- The order for the user alone takes the list away with the profile: too late to ask whose xuid(1) is.
-- feed erasures
{"subject":"u1","requested_at":"2024-05-02T00:00:00Z"}
-- expect user_ids
{"user_id":"u2","game":"halo","id":"xuid(1)","users":1}
{"user_id":"u2","game":"lol","id":"ben","users":1}
{"user_id":"u2","game":"user","id":"u2","users":1}
{"user_id":"u3","game":"user","id":"u3","users":1}
-- expect user_sessions

-- The other orders of the list reach what the first did not: the account in the profile of another user.
-- feed erasures
{"subject":"anna","requested_at":"2024-05-02T00:00:00Z"}
{"subject":"xuid(1)","requested_at":"2024-05-02T00:00:00Z"}
-- expect user_ids
{"user_id":"u2","game":"lol","id":"ben","users":1}
{"user_id":"u2","game":"user","id":"u2","users":1}
{"user_id":"u3","game":"user","id":"u3","users":1}
