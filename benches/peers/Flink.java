// Runs a file of Flink SQL as one job in this process: Flink.java FILE [--explain | --answer]. Its SETs configure the local
// cluster. With --explain it prints the plan in place of running it; with --answer it runs the query of the one INSERT and
// prints the rows that its changes leave in the end: a JSON object a line, in the order of the texts.

import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;

public final class Flink {
    private static final Pattern SET = Pattern.compile("SET '([^']*)' = '([^']*)'");
    private static final Pattern INSERT = Pattern.compile("INSERT INTO \\S+\\s+");

    public static void main(String[] arguments) throws Exception {
        String text = Files.readString(Path.of(arguments[0])).replaceAll("(?m)^--.*$", "");
        Configuration settings = new Configuration();
        List<String> statements = new ArrayList<>();
        for (String part : text.split(";\\s*(\n|$)")) {
            String statement = part.strip();
            Matcher set = SET.matcher(statement);
            if (set.matches()) {
                settings.setString(set.group(1), set.group(2));
            } else if (!statement.isEmpty()) {
                statements.add(statement);
            }
        }
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(settings);
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        settings.toMap().forEach((name, value) -> tables.getConfig().set(name, value));
        StatementSet inserts = tables.createStatementSet();
        String insert = null;
        for (String statement : statements) {
            if (statement.startsWith("INSERT")) {
                inserts.addInsertSql(statement);
                insert = statement;
            } else {
                tables.executeSql(statement);
            }
        }
        String wanted = arguments.length > 1 ? arguments[1] : "";
        if (wanted.equals("--explain")) {
            System.out.println(inserts.explain());
        } else if (wanted.equals("--answer")) {
            Table query = tables.sqlQuery(INSERT.matcher(insert).replaceFirst(""));
            List<String> names = query.getResolvedSchema().getColumnNames();
            tables.toChangelogStream(query).map(new Answer(names)).sinkTo(new DiscardingSink<>());
            environment.execute();
            Answer.print();
        } else {
            inserts.execute().await();
        }
    }

    /** Folds the changes of a query into the rows that they leave. The cluster is in this process, so they are seen here. */
    private static final class Answer implements MapFunction<Row, Integer> {
        /** How many there are of each row. */
        private static final Map<String, Integer> ROWS = new ConcurrentHashMap<>();
        /** Herald's form of a time. */
        private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS");

        private final List<String> names;

        Answer(List<String> names) {
            this.names = new ArrayList<>(names);
        }

        @Override
        public Integer map(Row row) {
            boolean added = row.getKind() == RowKind.INSERT || row.getKind() == RowKind.UPDATE_AFTER;
            int change = added ? 1 : -1;
            // A row whose count is 0 is left out.
            ROWS.merge(line(row), change, (a, b) -> a + b == 0 ? null : a + b);
            return change;
        }

        static void print() {
            PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
            for (Map.Entry<String, Integer> row : new TreeMap<>(ROWS).entrySet()) {
                if (row.getValue() < 0) {
                    throw new IllegalStateException("taken back more often than given: " + row.getKey());
                }
                for (int at = 0; at < row.getValue(); at++) {
                    out.println(row.getKey());
                }
            }
            out.flush();
        }

        /** A row as a JSON object, in the order of its columns. */
        private String line(Row row) {
            StringBuilder line = new StringBuilder("{");
            for (int at = 0; at < names.size(); at++) {
                if (at > 0) {
                    line.append(',');
                }
                quote(line, names.get(at));
                line.append(':');
                write(line, row.getField(at));
            }
            return line.append('}').toString();
        }

        private static void write(StringBuilder line, Object value) {
            if (value == null || value instanceof Boolean || value instanceof Integer || value instanceof Long) {
                line.append(value);
            } else if (value instanceof Double number && !number.isNaN() && !number.isInfinite()) {
                // Its digits are of this double alone, though they may be more than it needs.
                line.append(number);
            } else if (value instanceof BigDecimal number) {
                quote(line, number.toPlainString());
            } else if (value instanceof LocalDateTime time) {
                quote(line, TIME.format(time));
            } else if (value instanceof String text) {
                quote(line, text);
            } else {
                throw new IllegalArgumentException("no form is known for " + value.getClass() + " " + value);
            }
        }

        private static void quote(StringBuilder line, String text) {
            line.append('"');
            for (int at = 0; at < text.length(); at++) {
                char letter = text.charAt(at);
                if (letter == '"' || letter == '\\') {
                    line.append('\\').append(letter);
                } else if (letter < ' ') {
                    line.append(String.format("\\u%04x", (int) letter));
                } else {
                    line.append(letter);
                }
            }
            line.append('"');
        }
    }
}
