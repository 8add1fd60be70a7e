-- Profiles and where writers disagree, accounts, sign-ins and sessions.

-- topology ../11_people.sql


-- The same records come to both tables of the topic. Within five minutes web and app wrote different names; the later
-- one counts, whatever arrives last.
-- feed profiles
{"event_id":"e2","user_id":"u1","display_name":"Anna B","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"app","updated_at":"2024-05-01T09:03:00Z"}
{"event_id":"e1","user_id":"u1","display_name":"Anna","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"web","updated_at":"2024-05-01T09:00:00Z"}
{"event_id":"e3","user_id":"u1","display_name":"Anna B","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"web","updated_at":"2024-05-01T09:20:00Z"}
{"event_id":"e4","user_id":"u1","display_name":"Anna C","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"web","updated_at":"2024-05-01T09:21:00Z"}
-- feed profile_updates
{"event_id":"e2","user_id":"u1","display_name":"Anna B","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"app","updated_at":"2024-05-01T09:03:00Z"}
{"event_id":"e1","user_id":"u1","display_name":"Anna","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"web","updated_at":"2024-05-01T09:00:00Z"}
{"event_id":"e3","user_id":"u1","display_name":"Anna B","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"web","updated_at":"2024-05-01T09:20:00Z"}
{"event_id":"e4","user_id":"u1","display_name":"Anna C","email":"anna@example.org","country":"DE","accounts":[],"updated_by":"web","updated_at":"2024-05-01T09:21:00Z"}
-- expect profile_conflicts
{"user_id":"u1","earlier_event":"e1","later_event":"e2","earlier_writer":"web","later_writer":"app","earlier_at":"2024-05-01T09:00:00.000000Z","later_at":"2024-05-01T09:03:00.000000Z","earlier_name":"Anna","later_name":"Anna B","earlier_email":"anna@example.org","later_email":"anna@example.org","earlier_country":"DE","later_country":"DE"}

-- A person settles it.
-- feed profile_resolutions
{"user_id":"u1","resolved_by":"support","resolved_at":"2024-05-01T10:00:00Z"}
-- expect profile_conflicts
-- feed authentications
{"event_id":"a1","occurred_at":"2024-05-01T09:00:00Z","user_id":"u1","method":"password","succeeded":false}
{"event_id":"a2","occurred_at":"2024-05-01T09:01:00Z","user_id":"u1","method":"password","succeeded":true}
{"event_id":"a2","occurred_at":"2024-05-01T09:01:00Z","user_id":"u1","method":"password","succeeded":true}
{"event_id":"a3","occurred_at":"2024-05-01T10:01:00Z","user_id":"u2","succeeded":true}
-- feed sessions_created
{"session_id":"s1","user_id":"u1","device":"pc","occurred_at":"2024-05-01T09:01:00Z"}
{"session_id":"s2","user_id":"u2","device":"phone","occurred_at":"2024-05-01T10:01:00Z"}
-- feed logouts
{"session_id":"s1","reason":"user","occurred_at":"2024-05-01T09:46:30Z"}
-- expect sign_ins_hourly
{"window_start":"2024-05-01T09:00:00.000000Z","window_end":"2024-05-01T10:00:00.000000Z","method":"password","attempts":2,"succeeded":1,"users":1}
{"window_start":"2024-05-01T10:00:00.000000Z","window_end":"2024-05-01T11:00:00.000000Z","method":"unknown","attempts":1,"succeeded":1,"users":1}
-- expect user_sessions
{"session_id":"s1","user_id":"u1","device":"pc","began_at":"2024-05-01T09:01:00.000000Z","ended_at":"2024-05-01T09:46:30.000000Z","duration_s":2730.0,"reason":"user"}
{"session_id":"s2","user_id":"u2","device":"phone","began_at":"2024-05-01T10:01:00.000000Z","ended_at":null,"duration_s":null,"reason":null}
-- expect outcomes authentications
{"read":4,"accepted":3,"duplicate":1,"superseded":0,"constraint":0,"decode":0,"late":0}

-- A clock that is ahead: what it writes is refused, and holds back no later word. Five minutes pass.
-- feed profiles
timestamp=2024-05-02T09:00:00Z {"user_id":"u3","display_name":"Cleo","updated_at":"2024-05-02T09:05:00Z"}
timestamp=2024-05-02T09:00:00Z {"user_id":"u3","display_name":"Nobody","updated_at":"2024-05-02T09:05:00.000001Z"}
timestamp=2024-05-02T09:06:00Z {"user_id":"u3","display_name":"Clio","updated_at":"2024-05-02T09:06:00Z"}
-- feed profile_updates
timestamp=2024-05-02T09:00:00Z {"event_id":"e9","user_id":"u3","display_name":"Nobody","updated_by":"web","updated_at":"2024-05-02T09:05:01Z"}
-- feed profile_resolutions
timestamp=2024-05-02T09:00:00Z {"user_id":"u1","resolved_by":"support","resolved_at":"2099-01-01T00:00:00Z"}
-- feed preferences
timestamp=2024-05-02T09:00:00Z {"user_id":"u3","analytics_consent":true,"updated_at":"2099-01-01T00:00:00Z"}
timestamp=2024-05-02T10:00:00Z {"user_id":"u3","analytics_consent":false,"updated_at":"2024-05-02T10:00:00Z"}
-- expect dead_letter
{"source":"preferences","partition":0,"offset":0,"outcome":"constraint","constraint":"watermark.max_ahead","message":"event time 2099-01-01T00:00:00.000000Z is more than 300 s beyond the record's timestamp"}
{"source":"profile_resolutions","partition":0,"offset":1,"outcome":"constraint","constraint":"watermark.max_ahead","message":"event time 2099-01-01T00:00:00.000000Z is more than 300 s beyond the record's timestamp"}
{"source":"profile_updates","partition":0,"offset":4,"outcome":"constraint","constraint":"watermark.max_ahead","message":"event time 2024-05-02T09:05:01.000000Z is more than 300 s beyond the record's timestamp"}
{"source":"profiles","partition":0,"offset":5,"outcome":"constraint","constraint":"watermark.max_ahead","message":"event time 2024-05-02T09:05:00.000001Z is more than 300 s beyond the record's timestamp"}
-- expect outcomes profiles
{"read":7,"accepted":5,"duplicate":0,"superseded":1,"constraint":1,"decode":0,"late":0,"erased":0}
-- expect outcomes preferences
{"read":2,"accepted":1,"duplicate":0,"superseded":0,"constraint":1,"decode":0,"late":0,"erased":0}
