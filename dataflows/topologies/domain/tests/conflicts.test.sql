-- A conflict of profiles leaves before its updates are forgotten, so that an order to erase finds no row that it cannot
-- take back: it neither stays nor comes back when the word that settled it is erased.

-- topology ../11_people.sql
-- topology ../12_erasures.sql

-- feed profiles
{"event_id":"e1","user_id":"anna","display_name":"A","updated_by":"web","updated_at":"2025-01-01T00:00:00Z"}
{"event_id":"e2","user_id":"anna","display_name":"B","updated_by":"app","updated_at":"2025-01-01T00:01:00Z"}
{"event_id":"e3","user_id":"ben","display_name":"A","updated_by":"web","updated_at":"2025-01-01T00:00:00Z"}
{"event_id":"e4","user_id":"ben","display_name":"B","updated_by":"app","updated_at":"2025-01-01T00:01:00Z"}
{"event_id":"e5","user_id":"cleo","display_name":"A","updated_by":"web","updated_at":"2025-01-01T00:00:00Z"}
{"event_id":"e6","user_id":"cleo","display_name":"B","updated_by":"app","updated_at":"2025-01-01T00:01:00Z"}
-- feed profile_updates
{"event_id":"e1","user_id":"anna","display_name":"A","updated_by":"web","updated_at":"2025-01-01T00:00:00Z"}
{"event_id":"e2","user_id":"anna","display_name":"B","updated_by":"app","updated_at":"2025-01-01T00:01:00Z"}
{"event_id":"e3","user_id":"ben","display_name":"A","updated_by":"web","updated_at":"2025-01-01T00:00:00Z"}
{"event_id":"e4","user_id":"ben","display_name":"B","updated_by":"app","updated_at":"2025-01-01T00:01:00Z"}
{"event_id":"e5","user_id":"cleo","display_name":"A","updated_by":"web","updated_at":"2025-01-01T00:00:00Z"}
{"event_id":"e6","user_id":"cleo","display_name":"B","updated_by":"app","updated_at":"2025-01-01T00:01:00Z"}
-- feed profile_resolutions
{"user_id":"anna","resolved_by":"agent","resolved_at":"2025-01-01T00:02:00Z"}
-- expect profile_conflicts
{"user_id":"ben","earlier_event":"e3","later_event":"e4","earlier_writer":"web","later_writer":"app","earlier_at":"2025-01-01T00:00:00.000000Z","later_at":"2025-01-01T00:01:00.000000Z","earlier_name":"A","later_name":"B","earlier_email":null,"later_email":null,"earlier_country":null,"later_country":null}
{"user_id":"cleo","earlier_event":"e5","later_event":"e6","earlier_writer":"web","later_writer":"app","earlier_at":"2025-01-01T00:00:00.000000Z","later_at":"2025-01-01T00:01:00.000000Z","earlier_name":"A","later_name":"B","earlier_email":null,"later_email":null,"earlier_country":null,"later_country":null}

-- The updates before are older than 29 days.
-- feed profiles
{"event_id":"e9","user_id":"zoe","display_name":"Z","updated_by":"web","updated_at":"2025-03-01T00:00:00Z"}
-- feed profile_updates
{"event_id":"e9","user_id":"zoe","display_name":"Z","updated_by":"web","updated_at":"2025-03-01T00:00:00Z"}
-- expect profile_conflicts

-- feed erasures
{"subject":"anna","requested_at":"2025-03-01T00:00:00Z"}
{"subject":"cleo","requested_at":"2025-03-01T00:00:00Z"}
-- expect profile_conflicts
