// The match job as a Kafka Streams topology: Streams.java NAME=VALUE... A setting of Kafka Streams has a name in small
// letters; the others are KAFKA_BOOTSTRAP, NAME, INPUT, CHAMPIONS, HOURS, PLAYERS and STATE (a directory).
//
// It is written for speed: a streaming JSON reader that skips unread fields, binary serdes for all that is inside,
// and a global table for the names, which costs no repartition (and would not revise earlier answers if a name changed).

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Function;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorSupplier;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

public final class Streams {
    private static final JsonFactory JSON = new JsonFactory();

    record Game(String player, int champion, int kills, int deaths, int assists, boolean win, long endedAt) {}

    record Match(String id, int seconds, List<Game> games) {}

    record Hour(long hour, int champion) {}

    record Totals(long games, long wins, long kills, long deaths, long assists, int maxKills, long lastSeen) {
        static final Totals NONE = new Totals(0, 0, 0, 0, 0, Integer.MIN_VALUE, Long.MIN_VALUE);

        Totals plus(Game g) {
            return new Totals(games + 1, wins + (g.win ? 1 : 0), kills + g.kills, deaths + g.deaths, assists + g.assists,
                Math.max(maxKills, g.kills), Math.max(lastSeen, g.endedAt));
        }
    }

    record NamedHour(Hour hour, String name, Totals totals) {}

    record Player(String player, Totals totals) {}

    public static void main(String[] arguments) {
        Map<String, String> places = new TreeMap<>();
        Properties settings = new Properties();
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            if (Character.isUpperCase(parts[0].charAt(0))) {
                places.put(parts[0], parts[1]);
            } else {
                settings.put(parts[0], parts[1]);
            }
        }
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, places.get("NAME"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, places.get("KAFKA_BOOTSTRAP"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, places.get("STATE"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        KafkaStreams streams = new KafkaStreams(topology(places).build(settings), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static StreamsBuilder topology(Map<String, String> places) {
        StreamsBuilder builder = new StreamsBuilder();
        GlobalKTable<Integer, String> champions =
            builder.globalTable(places.get("CHAMPIONS"), Consumed.with(CHAMPION_ID, CHAMPION_NAME));
        KStream<Bytes, Game> games = builder.stream(places.get("INPUT"), Consumed.with(Serdes.Bytes(), MATCH))
            .filter((key, match) -> match.seconds >= 0 && match.seconds <= 14400)
            .processValues(new FirstOfId())
            .flatMapValues(Match::games);
        games.map((key, game) -> KeyValue.pair(new Hour(game.endedAt / 3_600_000, game.champion), game))
            .groupByKey(Grouped.with("hour", HOUR, GAME))
            .aggregate(() -> Totals.NONE, (key, game, totals) -> totals.plus(game), Materialized.with(HOUR, TOTALS))
            .toStream()
            .join(champions, (key, totals) -> key.champion, (key, champion, totals, name) -> new NamedHour(key, name, totals))
            .to(places.get("HOURS"), Produced.with(HOUR_KEY, HOUR_VALUE));
        games.map((key, game) -> KeyValue.pair(game.player, game))
            .groupByKey(Grouped.with("player", Serdes.String(), GAME))
            .aggregate(() -> Totals.NONE, (key, game, totals) -> totals.plus(game), Materialized.with(Serdes.String(), TOTALS))
            .toStream()
            .mapValues((key, totals) -> new Player(key, totals))
            .to(places.get("PLAYERS"), Produced.with(PLAYER_KEY, PLAYER_VALUE));
        return builder;
    }

    /** Lets the first match of an id through. */
    private static final class FirstOfId implements FixedKeyProcessorSupplier<Bytes, Match, Match> {
        private static final String SEEN = "seen";
        private static final byte[] YES = {1};

        @Override
        public Set<StoreBuilder<?>> stores() {
            return Set.of(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(SEEN), Serdes.String(), Serdes.ByteArray()));
        }

        @Override
        public FixedKeyProcessor<Bytes, Match, Match> get() {
            return new FixedKeyProcessor<>() {
                private FixedKeyProcessorContext<Bytes, Match> context;
                private KeyValueStore<String, byte[]> seen;

                @Override
                public void init(FixedKeyProcessorContext<Bytes, Match> context) {
                    this.context = context;
                    seen = context.getStateStore(SEEN);
                }

                @Override
                public void process(FixedKeyRecord<Bytes, Match> record) {
                    if (seen.putIfAbsent(record.value().id, YES) == null) {
                        context.forward(record);
                    }
                }
            };
        }
    }

    /** Fields of an object, of either shape of record, in whatever order they come. */
    private static final class Fields {
        String id, player, name;
        int seconds, champion, kills, deaths, assists;
        boolean win;
        long endedAt;
        List<Fields> participants;

        static Fields of(byte[] record) {
            try (JsonParser in = JSON.createParser(record)) {
                in.nextToken();
                Fields fields = new Fields();
                fields.read(in);
                return fields;
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private void read(JsonParser in) throws IOException {
            for (String name = in.nextFieldName(); name != null; name = in.nextFieldName()) {
                in.nextToken();
                switch (name) {
                    case "match_id" -> id = in.getText();
                    case "player" -> player = in.getText();
                    case "name" -> this.name = in.getText();
                    case "champion_id" -> champion = in.getIntValue();
                    case "kills" -> kills = in.getIntValue();
                    case "deaths" -> deaths = in.getIntValue();
                    case "assists" -> assists = in.getIntValue();
                    case "win" -> win = in.getBooleanValue();
                    case "duration_s" -> seconds = in.getIntValue();
                    case "ended_at" -> endedAt = in.getLongValue();
                    case "info" -> read(in);
                    case "participants" -> {
                        participants = new ArrayList<>(10);
                        while (in.nextToken() == JsonToken.START_OBJECT) {
                            Fields participant = new Fields();
                            participant.read(in);
                            participants.add(participant);
                        }
                    }
                    default -> in.skipChildren();
                }
            }
        }

        Match match() {
            List<Game> games = new ArrayList<>(participants == null ? 1 : participants.size());
            for (Fields p : participants == null ? List.of(this) : participants) {
                games.add(new Game(p.player, p.champion, p.kills, p.deaths, p.assists, p.win, endedAt));
            }
            return new Match(id, seconds, games);
        }
    }

    private static <T> Serde<T> serde(Function<T, byte[]> write, Function<byte[], T> read) {
        return Serdes.serdeFrom(
            (topic, value) -> value == null ? null : write.apply(value),
            (topic, bytes) -> bytes == null ? null : read.apply(bytes));
    }

    private static <T> Serde<T> reading(Function<byte[], T> read) {
        return serde(value -> { throw new IllegalStateException("this is only read"); }, read);
    }

    private static <T> Serde<T> writing(Function<T, String> write) {
        return serde(value -> write.apply(value).getBytes(StandardCharsets.UTF_8),
            bytes -> { throw new IllegalStateException("this is only written"); });
    }

    private static final Serde<Match> MATCH = reading(bytes -> Fields.of(bytes).match());
    // A global store holds the bytes of the topic as they are: a look-up must write the same bytes.
    private static final Serde<Integer> CHAMPION_ID = serde(
        id -> ("{\"champion_id\":" + id + "}").getBytes(StandardCharsets.UTF_8), bytes -> Fields.of(bytes).champion);
    private static final Serde<String> CHAMPION_NAME = serde(
        name -> ("{\"name\":\"" + name + "\"}").getBytes(StandardCharsets.UTF_8), bytes -> Fields.of(bytes).name);

    private static final Serde<Hour> HOUR = serde(
        hour -> ByteBuffer.allocate(12).putLong(hour.hour).putInt(hour.champion).array(),
        bytes -> {
            ByteBuffer in = ByteBuffer.wrap(bytes);
            return new Hour(in.getLong(), in.getInt());
        });
    private static final Serde<Game> GAME = serde(
        g -> {
            byte[] player = g.player.getBytes(StandardCharsets.UTF_8);
            return ByteBuffer.allocate(25 + player.length).putInt(g.champion).putInt(g.kills).putInt(g.deaths)
                .putInt(g.assists).put((byte) (g.win ? 1 : 0)).putLong(g.endedAt).put(player).array();
        },
        bytes -> {
            ByteBuffer in = ByteBuffer.wrap(bytes);
            int champion = in.getInt(), kills = in.getInt(), deaths = in.getInt(), assists = in.getInt();
            boolean win = in.get() == 1;
            long endedAt = in.getLong();
            return new Game(new String(bytes, 25, bytes.length - 25, StandardCharsets.UTF_8),
                champion, kills, deaths, assists, win, endedAt);
        });
    private static final Serde<Totals> TOTALS = serde(
        t -> ByteBuffer.allocate(52).putLong(t.games).putLong(t.wins).putLong(t.kills).putLong(t.deaths)
            .putLong(t.assists).putInt(t.maxKills).putLong(t.lastSeen).array(),
        bytes -> {
            ByteBuffer in = ByteBuffer.wrap(bytes);
            return new Totals(in.getLong(), in.getLong(), in.getLong(), in.getLong(), in.getLong(), in.getInt(), in.getLong());
        });

    private static final Serde<Hour> HOUR_KEY =
        writing(key -> "{\"hour\":" + key.hour + ",\"champion_id\":" + key.champion + "}");
    private static final Serde<NamedHour> HOUR_VALUE =
        writing(row -> "{\"hour\":" + row.hour.hour + ",\"champion_id\":" + row.hour.champion
            + ",\"champion_name\":\"" + row.name + "\"" + sums(row.totals) + "}");
    private static final Serde<String> PLAYER_KEY = writing(player -> "{\"player\":\"" + player + "\"}");
    private static final Serde<Player> PLAYER_VALUE =
        writing(row -> "{\"player\":\"" + row.player + "\"" + sums(row.totals)
            + ",\"max_kills\":" + row.totals.maxKills + ",\"last_seen\":" + row.totals.lastSeen + "}");

    private static String sums(Totals t) {
        return ",\"games\":" + t.games + ",\"wins\":" + t.wins + ",\"kills\":" + t.kills + ",\"deaths\":" + t.deaths
            + ",\"assists\":" + t.assists;
    }
}
