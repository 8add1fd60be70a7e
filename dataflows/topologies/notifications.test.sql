-- Notifications: once a trigger, when the user wants to hear it, with what became of it.

-- topology notifications.sql

-- u1 sleeps from 22:00 to 07:00 at UTC+2 and wants no word of ranks; u2 is quiet over noon, by mail.
-- feed notification_preferences
{"user_id":"u1","kind":"trend","enabled":true,"channel":"push","quiet_from":1320,"quiet_until":420,"utc_offset_min":120,"updated_at":"2024-05-01T00:00:00Z"}
{"user_id":"u1","kind":"rank","enabled":false,"channel":"push","quiet_from":null,"quiet_until":null,"utc_offset_min":120,"updated_at":"2024-05-01T00:00:00Z"}
{"user_id":"u2","kind":"trend","enabled":true,"channel":"mail","quiet_from":720,"quiet_until":780,"utc_offset_min":0,"updated_at":"2024-05-01T00:00:00Z"}
-- expect notifications

-- 20:30 UTC is 22:30 there, 04:59 is 06:59, 10:00 is the day; a rank is not told; u3 has said nothing.
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t1","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-01T20:30:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t2","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T04:59:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t3","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T10:00:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t4","user_id":"u1","kind":"rank","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T10:00:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t5","user_id":"u2","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T12:15:30Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t6","user_id":"u3","kind":"rank","game":"lol","subject":"Promoted to GOLD","occurred_at":"2024-05-02T12:15:00Z"},"op":"c"}
-- expect notifications
{"trigger_id":"t1","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-01T20:30:00.000000Z","not_before":"2024-05-02T05:00:00.000000Z"}
{"trigger_id":"t2","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-02T04:59:00.000000Z","not_before":"2024-05-02T05:00:00.000000Z"}
{"trigger_id":"t3","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-02T10:00:00.000000Z","not_before":"2024-05-02T10:00:00.000000Z"}
{"trigger_id":"t5","user_id":"u2","kind":"trend","subject":"You are playing better than usual","channel":"mail","occurred_at":"2024-05-02T12:15:30.000000Z","not_before":"2024-05-02T13:00:30.000000Z"}
{"trigger_id":"t6","user_id":"u3","kind":"rank","subject":"Promoted to GOLD","channel":"app","occurred_at":"2024-05-02T12:15:00.000000Z","not_before":"2024-05-02T12:15:00.000000Z"}
-- expect changes notifications_out
{"key":{"trigger_id":"t1"},"value":{"trigger_id":"t1","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-01T20:30:00.000000Z","not_before":"2024-05-02T05:00:00.000000Z"}}
{"key":{"trigger_id":"t2"},"value":{"trigger_id":"t2","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-02T04:59:00.000000Z","not_before":"2024-05-02T05:00:00.000000Z"}}
{"key":{"trigger_id":"t3"},"value":{"trigger_id":"t3","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-02T10:00:00.000000Z","not_before":"2024-05-02T10:00:00.000000Z"}}
{"key":{"trigger_id":"t5"},"value":{"trigger_id":"t5","user_id":"u2","kind":"trend","subject":"You are playing better than usual","channel":"mail","occurred_at":"2024-05-02T12:15:30.000000Z","not_before":"2024-05-02T13:00:30.000000Z"}}
{"key":{"trigger_id":"t6"},"value":{"trigger_id":"t6","user_id":"u3","kind":"rank","subject":"Promoted to GOLD","channel":"app","occurred_at":"2024-05-02T12:15:00.000000Z","not_before":"2024-05-02T12:15:00.000000Z"}}

-- Triggers that come again, are corrected, and are taken back: nobody hears twice.
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t1","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-01T20:30:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t3","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T11:00:00Z"},"op":"u"}
{"before":null,"after":null,"op":"d"}
{"before":null,"after":{"trigger_id":"t5","user_id":"u2","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T12:15:30Z"},"op":"c"}
-- expect changes notifications_out

-- u1 wants to hear of ranks from now on: t4 is past, t7 is told.
-- feed notification_preferences
{"user_id":"u1","kind":"rank","enabled":true,"channel":"app","quiet_from":null,"quiet_until":null,"utc_offset_min":120,"updated_at":"2024-05-03T00:00:00Z"}
-- expect changes notifications_out
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t7","user_id":"u1","kind":"rank","game":"lol","subject":"Demoted to SILVER","occurred_at":"2024-05-03T10:00:00Z"},"op":"c"}
-- expect changes notifications_out
{"key":{"trigger_id":"t7"},"value":{"trigger_id":"t7","user_id":"u1","kind":"rank","subject":"Demoted to SILVER","channel":"app","occurred_at":"2024-05-03T10:00:00.000000Z","not_before":"2024-05-03T10:00:00.000000Z"}}

-- What became of them: t1 failed twice and came through, t3 was clicked, t5 failed; a delivery of what was never sent.
-- feed failed
{"event_id":"f1","trigger_id":"t1","occurred_at":"2024-05-02T05:00:00Z","reason":"timeout"}
{"event_id":"f2","trigger_id":"t1","occurred_at":"2024-05-02T05:01:00Z","reason":"refused"}
{"event_id":"f3","trigger_id":"t5","occurred_at":"2024-05-02T13:00:00Z","reason":"no such address"}
-- feed delivered
{"event_id":"d1","trigger_id":"t1","occurred_at":"2024-05-02T05:02:00Z"}
{"event_id":"d2","trigger_id":"t3","occurred_at":"2024-05-02T10:00:01Z"}
{"event_id":"d2","trigger_id":"t3","occurred_at":"2024-05-02T10:00:01Z"}
{"event_id":"d3","trigger_id":"t9","occurred_at":"2024-05-02T10:00:01Z"}
-- feed clicked
{"event_id":"c1","trigger_id":"t3","occurred_at":"2024-05-02T10:05:00Z"}
-- expect notification_history
{"user_id":"u1","trigger_id":"t1","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T05:00:00.000000Z","state":"delivered","delivered_at":"2024-05-02T05:02:00.000000Z","clicked_at":null,"failures":2,"last_reason":"refused"}
{"user_id":"u1","trigger_id":"t2","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T05:00:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
{"user_id":"u1","trigger_id":"t3","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T10:00:00.000000Z","state":"clicked","delivered_at":"2024-05-02T10:00:01.000000Z","clicked_at":"2024-05-02T10:05:00.000000Z","failures":null,"last_reason":null}
{"user_id":"u1","trigger_id":"t7","kind":"rank","subject":"Demoted to SILVER","channel":"app","not_before":"2024-05-03T10:00:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
{"user_id":"u2","trigger_id":"t5","kind":"trend","subject":"You are playing better than usual","channel":"mail","not_before":"2024-05-02T13:00:30.000000Z","state":"failed","delivered_at":null,"clicked_at":null,"failures":1,"last_reason":"no such address"}
{"user_id":"u3","trigger_id":"t6","kind":"rank","subject":"Promoted to GOLD","channel":"app","not_before":"2024-05-02T12:15:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
-- expect notification_totals
{"user_id":"u1","sent":4,"delivered":2,"clicked":1,"failed":0}
{"user_id":"u2","sent":1,"delivered":0,"clicked":0,"failed":1}
{"user_id":"u3","sent":1,"delivered":0,"clicked":0,"failed":0}
-- restart
-- expect notification_totals
{"user_id":"u1","sent":4,"delivered":2,"clicked":1,"failed":0}
{"user_id":"u2","sent":1,"delivered":0,"clicked":0,"failed":1}
{"user_id":"u3","sent":1,"delivered":0,"clicked":0,"failed":0}
