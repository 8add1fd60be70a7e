import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.JDBCType;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.util.PGInterval;

/**
 * PostgreSQL's JDBC driver: the calls of DatabaseMetaData by which DBeaver, Metabase and DataGrip look around, values and
 * parameters of every type as text and as binary, portions of rows, transactions, time limits, errors.
 *
 * <p>java -cp DRIVER CheckJdbc.java HOST PORT DATABASE EXPECTED [CHECK...]. The forms of values are told in views.py.
 */
public class CheckJdbc {
    static final String ENDLESS =
            "SELECT count(*) AS n FROM big AS a CROSS JOIN big AS b CROSS JOIN big AS c WHERE a.v + b.v + c.v < 0";
    static String url;
    static Map<String, Object> expected;
    static Map<String, Object> shape;
    static Map<String, Object> views;
    static Map<String, Object> answers;

    /** An answer that is not the expected one. */
    static class Difference extends RuntimeException {
        Difference(String message) {
            super(message);
        }
    }

    interface Check {
        void run() throws Exception;
    }

    interface Call {
        Object run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        url = "jdbc:postgresql://" + args[0] + ":" + args[1] + "/" + args[2];
        expected = object(new Json(Files.readString(Path.of(args[3]))).value());
        shape = object(expected.get("shape"));
        views = object(expected.get("views"));
        answers = object(expected.get("answers"));
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("session", CheckJdbc::session);
        checks.put("tables", CheckJdbc::tables);
        checks.put("columns", CheckJdbc::columns);
        checks.put("keys", CheckJdbc::keys);
        checks.put("facts", CheckJdbc::facts);
        checks.put("rows", CheckJdbc::rows);
        checks.put("questions", CheckJdbc::questions);
        checks.put("parameters", CheckJdbc::parameters);
        checks.put("portions", CheckJdbc::portions);
        checks.put("results", CheckJdbc::results);
        checks.put("transactions", CheckJdbc::transactions);
        checks.put("errors", CheckJdbc::errors);
        Set<String> named = new TreeSet<>(Arrays.asList(args).subList(4, args.length));
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            if (!named.isEmpty() && !named.contains(check.getKey())) {
                continue;
            }
            try {
                check.getValue().run();
            } catch (Difference difference) {
                System.err.println(check.getKey() + ": " + difference.getMessage());
                System.exit(1);
            } catch (Exception error) {
                System.err.print(check.getKey() + ": ");
                error.printStackTrace();
                System.exit(1);
            }
        }
    }

    static Connection connect(String... options) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv().getOrDefault("PGUSER", "reader"));
        properties.setProperty("password", System.getenv().getOrDefault("PGPASSWORD", ""));
        for (int at = 0; at < options.length; at += 2) {
            properties.setProperty(options[at], options[at + 1]);
        }
        return DriverManager.getConnection(url, properties);
    }

    static void same(Object found, Object wanted, String what) {
        if (!String.valueOf(found).equals(String.valueOf(wanted))) {
            throw new Difference(what + "\n  found     " + found + "\n  expected  " + wanted);
        }
    }

    static void holds(boolean condition, String what) {
        if (!condition) {
            throw new Difference(what);
        }
    }

    static void fails(String state, String what, Call call) throws Exception {
        try {
            call.run();
        } catch (SQLException error) {
            same(error.getSQLState(), state, "SQLSTATE of " + what + ": " + error.getMessage());
            return;
        }
        throw new Difference(what + "\n  found     an answer\n  expected  an error with SQLSTATE " + state);
    }

    // What is expected.

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Object value) {
        return (Map<String, Object>) value;
    }

    @SuppressWarnings("unchecked")
    static List<Object> list(Object value) {
        return (List<Object>) value;
    }

    /** Pairs of a name and a type of a view or an answer. */
    static List<Object> columnsOf(Object view) {
        return list(object(view).get("columns"));
    }

    static String name(Object column) {
        return (String) list(column).get(0);
    }

    static String kind(Object column) {
        return (String) list(column).get(1);
    }

    static String base(String kind) {
        return kind.replaceAll("\\([^)]*\\)", "");
    }

    static List<String> names(List<Object> columns) {
        return columns.stream().map(CheckJdbc::name).toList();
    }

    static String whole(String view) {
        List<Object> key = list(object(views.get(view)).get("key"));
        return "SELECT * FROM " + view + " ORDER BY " + String.join(", ", key.stream().map(Object::toString).toList());
    }

    // Forms of values.

    static final DateTimeFormatter DAY = DateTimeFormatter.ofPattern("uuuu-MM-dd");
    static final DateTimeFormatter SECOND = DateTimeFormatter.ofPattern("HH:mm:ss");

    static String clock(LocalTime time) {
        int micros = time.getNano() / 1000;
        return SECOND.format(time) + (micros == 0 ? "" : "." + String.format("%06d", micros).replaceAll("0+$", ""));
    }

    static String moment(LocalDateTime time) {
        return DAY.format(time) + " " + clock(time.toLocalTime());
    }

    static String floating(double value) {
        return Double.isNaN(value) ? "NaN" : Double.isInfinite(value) ? (value > 0 ? "Infinity" : "-Infinity") : "" + value;
    }

    static String number(BigDecimal value) {
        return value.round(new MathContext(12)).stripTrailingZeros().toPlainString();
    }

    static String span(long months, long days, double seconds) {
        return months + " mons " + days + " days " + Math.round(seconds * 1e6);
    }

    /** A value of an answer in the form in which it is compared. */
    static Object found(ResultSet rows, int at, String kind) throws SQLException {
        if (rows.getObject(at) == null) {
            return null;
        }
        if (kind.endsWith("[]")) {
            return items(rows.getArray(at), kind.substring(0, kind.length() - 2));
        }
        return switch (base(kind)) {
            case "boolean" -> rows.getBoolean(at);
            case "smallint", "integer" -> rows.getInt(at);
            case "bigint" -> Long.toString(rows.getLong(at));
            case "real" -> floating(rows.getFloat(at));
            case "double precision" -> floating(rows.getDouble(at));
            case "numeric" -> rows.getBigDecimal(at).toPlainString();
            case "number" -> number(rows.getBigDecimal(at));
            case "bytea" -> hexadecimal(rows.getBytes(at));
            case "date" -> DAY.format(rows.getObject(at, LocalDate.class));
            case "time without time zone" -> clock(rows.getObject(at, LocalTime.class));
            case "timestamp without time zone" -> moment(rows.getObject(at, LocalDateTime.class));
            case "timestamp with time zone" -> zoned(rows.getObject(at, OffsetDateTime.class));
            case "interval" -> interval((PGInterval) rows.getObject(at));
            case "uuid" -> rows.getObject(at, UUID.class).toString();
            case "jsonb" -> plain(new Json(rows.getString(at)).value());
            default -> rows.getString(at);
        };
    }

    static String zoned(OffsetDateTime time) {
        return moment(time.withOffsetSameInstant(ZoneOffset.UTC).toLocalDateTime()) + "+00";
    }

    static String interval(PGInterval value) {
        double seconds = (value.getHours() * 60 + value.getMinutes()) * 60 + value.getSeconds();
        return span(value.getYears() * 12L + value.getMonths(), value.getDays(), seconds);
    }

    static List<Object> items(Array array, String kind) throws SQLException {
        List<Object> read = new ArrayList<>();
        for (Object item : (Object[]) array.getArray()) {
            boolean isTime = item instanceof java.sql.Timestamp;
            read.add(isTime ? zoned(((java.sql.Timestamp) item).toInstant().atOffset(ZoneOffset.UTC)) : item);
        }
        return read;
    }

    static String hexadecimal(byte[] bytes) {
        StringBuilder text = new StringBuilder("\\x");
        for (byte item : bytes) {
            text.append(String.format("%02x", item));
        }
        return text.toString();
    }

    /** A JSON value with the members of objects in the order of their names, and numbers without their spelling. */
    static Object plain(Object value) {
        if (value instanceof Map) {
            Map<String, Object> sorted = new TreeMap<>();
            object(value).forEach((name, item) -> sorted.put(name, plain(item)));
            return sorted;
        }
        if (value instanceof List) {
            return list(value).stream().map(CheckJdbc::plain).toList();
        }
        return value instanceof BigDecimal ? number((BigDecimal) value) : value;
    }

    /** An expected value in the form in which it is compared. */
    static Object wanted(Object value, String kind) {
        if (value == null || kind.endsWith("[]")) {
            return value;
        }
        return switch (base(kind)) {
            case "smallint", "integer" -> ((BigDecimal) value).intValueExact();
            case "real" -> value instanceof String ? value : floating(((BigDecimal) value).floatValue());
            case "double precision" -> value instanceof String ? value : floating(((BigDecimal) value).doubleValue());
            case "number" -> number(new BigDecimal((String) value));
            case "interval" -> spanOf((String) value);
            case "jsonb" -> plain(value);
            default -> value;
        };
    }

    static String spanOf(String text) {
        String[] parts = text.split(" ");
        String[] time = parts[4].replace("-", "").split(":");
        double seconds = (Integer.parseInt(time[0]) * 60 + Integer.parseInt(time[1])) * 60 + Double.parseDouble(time[2]);
        return span(Long.parseLong(parts[0]), Long.parseLong(parts[2]), parts[4].startsWith("-") ? -seconds : seconds);
    }

    /** Holds an answer against expected rows, in their order. */
    static void sameRows(ResultSet rows, Object wantedRows, List<Object> columns, String what) throws SQLException {
        List<Object> wanted = list(wantedRows);
        same(labels(rows.getMetaData()), names(columns), what + ": columns");
        int place = 0;
        for (; rows.next(); place++) {
            holds(place < wanted.size(), what + ": more than the expected " + wanted.size() + " rows");
            List<Object> row = list(wanted.get(place));
            for (int at = 0; at < columns.size(); at++) {
                String kind = kind(columns.get(at));
                String where = what + ": row " + place + " (" + row.get(0) + "), column " + name(columns.get(at));
                same(found(rows, at + 1, kind), wanted(row.get(at), kind), where);
            }
        }
        same(place, wanted.size(), what + ": rows");
    }

    static List<String> labels(ResultSetMetaData told) throws SQLException {
        List<String> labels = new ArrayList<>();
        for (int at = 1; at <= told.getColumnCount(); at++) {
            labels.add(told.getColumnLabel(at));
        }
        return labels;
    }

    /** The values of some columns of an answer, row by row. */
    static List<List<String>> table(ResultSet rows, String... columns) throws SQLException {
        List<List<String>> read = new ArrayList<>();
        while (rows.next()) {
            List<String> row = new ArrayList<>();
            for (String column : columns) {
                row.add(rows.getString(column));
            }
            read.add(row);
        }
        rows.close();
        return read;
    }

    static List<String> column(ResultSet rows, String column) throws SQLException {
        return table(rows, column).stream().map(row -> row.get(0)).toList();
    }

    static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            return rows.next() ? rows.getString(1) : null;
        }
    }

    // Checks.

    /** Facts about the server and the session. */
    static void session() throws Exception {
        try (Connection connection = connect("ApplicationName", "check_jdbc", "options", "-c statement_timeout=50s")) {
            DatabaseMetaData about = connection.getMetaData();
            same(about.getDatabaseProductName(), "PostgreSQL", "product");
            holds(about.getDatabaseMajorVersion() >= 14, "version " + about.getDatabaseProductVersion());
            same(about.getUserName(), System.getenv().getOrDefault("PGUSER", "reader"), "user");
            same(connection.getSchema(), "public", "schema");
            same("jdbc:postgresql://" + url.split("://")[1].split("/")[0] + "/" + connection.getCatalog(), url, "catalog");
            holds(connection.isValid(5), "isValid");
            same(one(connection, "SHOW statement_timeout"), "50s", "an option of the start-up message");
            same(one(connection, "SELECT current_setting('application_name')"), "check_jdbc", "application_name");
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            same(connection.getTransactionIsolation(), Connection.TRANSACTION_REPEATABLE_READ, "isolation");
            connection.setReadOnly(true);
            connection.setSchema("public");
            connection.setNetworkTimeout(Runnable::run, 60_000);
            connection.setClientInfo("ApplicationName", "other");
            same(one(connection, "SHOW application_name"), "other", "setClientInfo");
        }
        try (Connection connection = connect("preferQueryMode", "simple")) {
            same(one(connection, "SELECT 40 + 2"), "42", "the simple protocol");
        }
    }

    static void tables() throws Exception {
        String type = shape.get("kind").equals("m") ? "MATERIALIZED VIEW" : "TABLE";
        try (Connection connection = connect()) {
            DatabaseMetaData about = connection.getMetaData();
            holds(column(about.getCatalogs(), "TABLE_CAT").contains(connection.getCatalog()), "getCatalogs");
            holds(column(about.getSchemas(), "TABLE_SCHEM").containsAll(List.of("public", "herald")), "getSchemas");
            same(column(about.getSchemas(null, "pub%"), "TABLE_SCHEM"), List.of("public"), "getSchemas of a pattern");
            holds(column(about.getTableTypes(), "TABLE_TYPE").contains(type), "getTableTypes");
            for (String pattern : new String[] {"%", null}) {
                ResultSet rows = about.getTables(connection.getCatalog(), "public", pattern, null);
                List<List<String>> found = table(rows, "TABLE_NAME", "TABLE_TYPE");
                found.removeIf(row -> row.get(1).endsWith("INDEX"));
                same(found, new TreeSet<>(views.keySet()).stream().map(view -> List.of(view, type)).toList(), "getTables");
            }
            String[] kinds = {"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "PARTITIONED TABLE"};
            List<List<String>> one = table(about.getTables(null, null, "total_", kinds), "TABLE_SCHEM", "TABLE_NAME");
            same(one, List.of(List.of("public", "totals")), "getTables of a pattern");
            holds(table(about.getTables(null, "herald", "%", null), "TABLE_NAME").contains(List.of("views")), "system tables");
            same(table(about.getTables(null, "nothing", "%", null), "TABLE_NAME"), List.of(), "tables of no schema");
        }
    }

    static final Map<String, String> SHORT = Map.ofEntries(
            Map.entry("boolean", "bool"), Map.entry("smallint", "int2"), Map.entry("integer", "int4"),
            Map.entry("bigint", "int8"), Map.entry("real", "float4"), Map.entry("double precision", "float8"),
            Map.entry("time without time zone", "time"), Map.entry("timestamp without time zone", "timestamp"),
            Map.entry("timestamp with time zone", "timestamptz"));

    /** A type's name in pg_type. */
    static String typeName(String kind) {
        if (kind.endsWith("[]")) {
            return "_" + typeName(kind.substring(0, kind.length() - 2));
        }
        return SHORT.getOrDefault(base(kind), base(kind));
    }

    static void columns() throws Exception {
        try (Connection connection = connect()) {
            DatabaseMetaData about = connection.getMetaData();
            for (String view : views.keySet()) {
                ResultSet rows = about.getColumns(null, "public", view, "%");
                List<List<String>> found = table(rows, "COLUMN_NAME", "TYPE_NAME", "ORDINAL_POSITION");
                List<List<String>> wanted = new ArrayList<>();
                for (Object column : columnsOf(views.get(view))) {
                    wanted.add(List.of(name(column), typeName(kind(column)), "" + (wanted.size() + 1)));
                }
                same(found, wanted, "getColumns of " + view);
            }
            String[] sizes = {"DATA_TYPE", "COLUMN_SIZE", "DECIMAL_DIGITS"};
            List<List<String>> price = table(about.getColumns(null, "public", "every_type", "price"), sizes);
            same(price, List.of(List.of("" + Types.NUMERIC, "10", "2")), "size of a numeric");
            holds(column(about.getColumns(null, null, "%", "last_seen"), "TABLE_NAME").contains("totals"), "a column of any");
        }
    }

    static void keys() throws Exception {
        boolean areConstraints = shape.get("keys").equals("constraint");
        try (Connection connection = connect()) {
            DatabaseMetaData about = connection.getMetaData();
            for (String view : views.keySet()) {
                List<Object> key = list(object(views.get(view)).get("key"));
                List<String> found = column(about.getPrimaryKeys(null, "public", view), "COLUMN_NAME");
                same(found, areConstraints ? key : List.of(), "getPrimaryKeys of " + view);
                Map<String, List<String>> indexes = new TreeMap<>();
                Set<String> unique = new TreeSet<>();
                ResultSet rows = about.getIndexInfo(null, "public", view, false, true);
                for (List<String> row : table(rows, "INDEX_NAME", "COLUMN_NAME", "NON_UNIQUE", "ASC_OR_DESC")) {
                    indexes.computeIfAbsent(row.get(0), name -> new ArrayList<>()).add(row.get(1));
                    if (row.get(2).equals("f")) {
                        unique.add(row.get(0));
                    }
                    same(row.get(3), "A", "the order of index " + row.get(0));
                }
                same(unique.stream().map(indexes::get).toList(), List.of(key), "unique indexes of " + view);
                object(object(views.get(view)).get("indexes")).forEach((index, columns) -> {
                    List<String> its = indexes.getOrDefault(index, List.of());
                    same(its.subList(0, Math.min(its.size(), list(columns).size())), columns, "index " + index);
                });
                holds(!about.getImportedKeys(null, "public", view).next(), "getImportedKeys of " + view);
                holds(!about.getExportedKeys(null, "public", view).next(), "getExportedKeys of " + view);
                table(about.getVersionColumns(null, "public", view), "COLUMN_NAME");
                table(about.getBestRowIdentifier(null, "public", view, DatabaseMetaData.bestRowSession, true), "COLUMN_NAME");
                table(about.getTablePrivileges(null, "public", view), "PRIVILEGE");
                table(about.getColumnPrivileges(null, "public", view, "%"), "PRIVILEGE");
            }
            holds(!about.getCrossReference(null, "public", "big", null, "public", "totals").next(), "getCrossReference");
        }
    }

    /** Types, functions, words and limits. */
    static void facts() throws Exception {
        try (Connection connection = connect()) {
            DatabaseMetaData about = connection.getMetaData();
            List<List<String>> types = table(about.getTypeInfo(), "TYPE_NAME", "DATA_TYPE");
            for (Object column : columnsOf(views.get("every_type"))) {
                String name = typeName(kind(column));
                holds(types.stream().anyMatch(type -> type.get(0).equals(name)), "getTypeInfo lacks " + name);
            }
            holds(types.contains(List.of("int8", "" + Types.BIGINT)), "getTypeInfo of int8");
            table(about.getFunctions(null, "public", "%"), "FUNCTION_NAME");
            table(about.getFunctionColumns(null, "public", "%", "%"), "COLUMN_NAME");
            table(about.getProcedures(null, "public", "%"), "PROCEDURE_NAME");
            table(about.getProcedureColumns(null, "public", "%", "%"), "COLUMN_NAME");
            table(about.getUDTs(null, "public", "%", null), "TYPE_NAME");
            table(about.getClientInfoProperties(), "NAME");
            holds(about.getSQLKeywords() != null && about.getNumericFunctions() != null, "getSQLKeywords");
            same(about.getMaxColumnsInIndex(), 32, "getMaxColumnsInIndex");
            same(about.getMaxColumnNameLength(), 63, "getMaxColumnNameLength");
            holds(about.getDefaultTransactionIsolation() > 0, "getDefaultTransactionIsolation");
            holds(about.supportsTransactions(), "supportsTransactions");
        }
    }

    /** All rows of all views: four times as text, then as binary. */
    static void rows() throws Exception {
        for (String threshold : new String[] {"5", "-1"}) {
            try (Connection connection = connect("prepareThreshold", threshold)) {
                for (String view : views.keySet()) {
                    if (object(views.get(view)).get("rows") == null) {
                        continue;
                    }
                    int turns = view.equals("big") ? 1 : 7;
                    try (PreparedStatement statement = connection.prepareStatement(whole(view))) {
                        for (int turn = 0; turn < turns; turn++) {
                            Object rows = object(views.get(view)).get("rows");
                            sameRows(statement.executeQuery(), rows, columnsOf(views.get(view)), view + ", turn " + turn);
                        }
                    }
                }
            }
        }
    }

    /** Answers to the questions, with parameters; from the fifth turn on by named statements in binary. */
    static void questions() throws Exception {
        try (Connection connection = connect()) {
            for (String name : answers.keySet()) {
                Map<String, Object> asked = object(answers.get(name));
                String sql = ((String) asked.get("sql")).replaceAll("\\$\\d+", "?");
                try (PreparedStatement statement = connection.prepareStatement(sql)) {
                    for (int turn = 0; turn < 7; turn++) {
                        int at = 1;
                        for (Object parameter : list(asked.get("parameters"))) {
                            set(statement, at++, kindOf(parameter), list(parameter).get(1));
                        }
                        sameRows(statement.executeQuery(), asked.get("rows"), columnsOf(asked), name + ", turn " + turn);
                    }
                    same(statement.getParameterMetaData().getParameterCount(), list(asked.get("parameters")).size(), name);
                }
            }
        }
    }

    static String kindOf(Object parameter) {
        return (String) list(parameter).get(0);
    }

    /** Sets a parameter by its type. */
    static void set(PreparedStatement statement, int at, String kind, Object value) throws SQLException {
        if (value == null) {
            statement.setObject(at, null);
            return;
        }
        String text = value.toString();
        switch (base(kind)) {
            case "boolean" -> statement.setBoolean(at, (Boolean) value);
            case "smallint" -> statement.setShort(at, new BigDecimal(text).shortValueExact());
            case "integer" -> statement.setInt(at, new BigDecimal(text).intValueExact());
            case "bigint" -> statement.setLong(at, Long.parseLong(text));
            case "real" -> statement.setFloat(at, Float.parseFloat(text));
            case "double precision" -> statement.setDouble(at, Double.parseDouble(text));
            case "numeric" -> statement.setBigDecimal(at, new BigDecimal(text));
            case "date" -> statement.setObject(at, LocalDate.parse(text));
            case "time without time zone" -> statement.setObject(at, LocalTime.parse(text));
            case "timestamp without time zone" -> statement.setObject(at, LocalDateTime.parse(text.replace(" ", "T")));
            case "timestamp with time zone" -> statement.setObject(at, OffsetDateTime.parse(text.replace(" ", "T")));
            case "uuid" -> statement.setObject(at, UUID.fromString(text));
            case "bytea" -> statement.setBytes(at, java.util.HexFormat.of().parseHex(text.substring(2)));
            case "bigint[]" -> {
                Object[] items = list(value).stream().map(item -> item == null ? null : Long.valueOf((String) item)).toArray();
                statement.setArray(at, statement.getConnection().createArrayOf("int8", items));
            }
            case "text[]" -> statement.setArray(at, statement.getConnection().createArrayOf("text", list(value).toArray()));
            case "interval" -> statement.setObject(at, new PGInterval(text));
            default -> statement.setString(at, text);
        }
    }

    /** A parameter of every type comes back, and finds the row it was taken from, as text and as binary. */
    static void parameters() throws Exception {
        Set<String> unequal = Set.of("real", "double precision", "interval", "jsonb");
        List<Object> columns = columnsOf(views.get("every_type"));
        try (Connection connection = connect("prepareThreshold", "2")) {
            for (int at = 0; at < columns.size(); at++) {
                String kind = kind(columns.get(at));
                if (kind.equals("jsonb") || kind.startsWith("timestamp with time zone[")) {
                    continue;
                }
                String name = name(columns.get(at));
                String find = "SELECT id FROM every_type WHERE " + name + " = ? AND id = ?";
                try (PreparedStatement echo = connection.prepareStatement("SELECT CAST(? AS " + kind + ") AS x");
                        PreparedStatement finds = connection.prepareStatement(find)) {
                    for (Object row : list(object(views.get("every_type")).get("rows"))) {
                        Object value = list(row).get(at);
                        set(echo, 1, kind, value);
                        ResultSet back = echo.executeQuery();
                        holds(back.next(), "a row");
                        same(found(back, 1, kind), wanted(value, kind), "a parameter of type " + kind + " that comes back");
                        if (value != null && !unequal.contains(kind) && !kind.endsWith("[]")) {
                            set(finds, 1, kind, value);
                            set(finds, 2, "bigint", list(row).get(0));
                            same(column(finds.executeQuery(), "id"), List.of(list(row).get(0)), name + " = " + value);
                        }
                    }
                }
            }
            try (PreparedStatement statement = connection.prepareStatement("SELECT count(*) FROM totals WHERE last_seen >= ?")) {
                statement.setTimestamp(1, java.sql.Timestamp.from(java.time.Instant.parse("2026-01-05T23:00:00Z")));
                ResultSet rows = statement.executeQuery();
                holds(rows.next() && rows.getInt(1) == 6, "a Timestamp, whose type the server finds");
            }
        }
    }

    /** Rows by portions within a transaction, with limits. */
    static void portions() throws Exception {
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            connection.setReadOnly(true);
            try (PreparedStatement statement = connection.prepareStatement(whole("big"))) {
                for (int size : new int[] {100, 7777}) {
                    statement.setFetchSize(size);
                    sameRows(statement.executeQuery(), object(views.get("big")).get("rows"), columnsOf(views.get("big")), "by " + size);
                }
                try (Statement other = connection.createStatement()) {
                    statement.setFetchSize(10);
                    ResultSet rows = statement.executeQuery();
                    for (int id = 0; id < 25; id++) {
                        holds(rows.next(), "a row of a portion");
                        same(rows.getLong(1), id, "the id of a portion");
                        holds(other.executeQuery("SELECT 1").next(), "another query between portions");
                    }
                    rows.close();
                }
                statement.setFetchSize(0);
                statement.setMaxRows(5);
                same(column(statement.executeQuery(), "id"), List.of("0", "1", "2", "3", "4"), "setMaxRows");
            }
            connection.commit();
        }
    }

    /** Facts about an answer's columns, which the driver asks the catalogue for. */
    static void results() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            ResultSet rows = statement.executeQuery("SELECT t.player AS who, t.points, t.wins + 1 AS more FROM totals AS t");
            ResultSetMetaData told = rows.getMetaData();
            same(told.getColumnLabel(1), "who", "label");
            var origins = (org.postgresql.PGResultSetMetaData) told;
            same(origins.getBaseTableName(1) + "." + origins.getBaseColumnName(1), "totals.player", "origin of a renamed column");
            same(origins.getBaseTableName(2) + "." + origins.getBaseColumnName(2), "totals.points", "origin of a column");
            same(origins.getBaseTableName(3) + "." + origins.getBaseColumnName(3), ".", "origin of an expression");
            same(told.getColumnTypeName(3), "int8", "type");
            same(told.isAutoIncrement(1), false, "isAutoIncrement");
            told.isNullable(1);
            rows = statement.executeQuery("SELECT * FROM every_type WHERE id = 1");
            told = rows.getMetaData();
            List<Object> columns = columnsOf(views.get("every_type"));
            for (int at = 1; at <= columns.size(); at++) {
                same(told.getColumnTypeName(at), typeName(kind(columns.get(at - 1))), "type of " + name(columns.get(at - 1)));
            }
            same(told.getPrecision(7) + "," + told.getScale(7), "10,2", "precision and scale");
            same(JDBCType.valueOf(told.getColumnType(13)), JDBCType.TIMESTAMP, "type of a time");
            try (PreparedStatement described = connection.prepareStatement("SELECT player, wins FROM totals WHERE wins > ?")) {
                same(labels(described.getMetaData()), List.of("player", "wins"), "columns before an execution");
                same(described.getParameterMetaData().getParameterTypeName(1), "int8", "type of a parameter");
            }
            try (Statement several = connection.createStatement()) {
                holds(several.execute("SELECT 1; SELECT 2"), "a first answer");
                holds(several.getMoreResults(), "a second answer");
            }
        }
    }

    static void transactions() throws Exception {
        String total = "SELECT sum(n) FROM ticks";
        try (Connection connection = connect()) {
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            connection.setAutoCommit(false);
            String first = one(connection, total);
            Thread.sleep(500);
            same(one(connection, total), first, "one epoch for a transaction");
            java.sql.Savepoint point = connection.setSavepoint();
            fails("42P01", "a view that is not there", () -> one(connection, "SELECT * FROM nothing"));
            fails("25P02", "a failed transaction", () -> one(connection, "SELECT 1"));
            connection.rollback(point);
            same(one(connection, total), first, "after a savepoint");
            connection.commit();
            for (int turn = 0; one(connection, total).equals(first); turn++) {
                connection.commit();
                holds(turn < 600, "ticks does not change");
                Thread.sleep(100);
            }
            connection.rollback();
        }
        // The driver's own savepoints around each statement.
        try (Connection connection = connect("autosave", "always")) {
            connection.setAutoCommit(false);
            fails("42703", "a column", () -> one(connection, "SELECT nothing FROM big"));
            same(one(connection, "SELECT 1"), "1", "after a mistake with autosave");
            connection.commit();
        }
    }

    static void errors() throws Exception {
        try (Connection connection = connect()) {
            for (String[] mistake : new String[][] {
                {"42P01", "SELECT * FROM nothing"}, {"42703", "SELECT nothing FROM big"}, {"42601", "SELECT FROM WHERE"},
                {"22012", "SELECT 1 / 0"}, {"25006", "DELETE FROM totals"}, {"25006", "CREATE TABLE t (a int)"},
            }) {
                fails(mistake[0], mistake[1], () -> one(connection, mistake[1]));
            }
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                long begun = System.nanoTime();
                fails("57014", "setQueryTimeout", () -> statement.executeQuery(ENDLESS));
                holds(System.nanoTime() - begun < 60e9, "a time limit takes its time");
                statement.setQueryTimeout(0);
                Thread cancels = new Thread(() -> cancel(statement));
                cancels.start();
                fails("57014", "Statement.cancel", () -> statement.executeQuery(ENDLESS));
                cancels.join();
                same(one(connection, "SELECT 1"), "1", "after a cancel");
            }
            try (PreparedStatement statement = connection.prepareStatement("SELECT id FROM big WHERE id = ?")) {
                statement.setObject(1, "x", Types.OTHER);
                fails("22P02", "a bigint that is none", statement::executeQuery);
            }
            java.io.StringWriter out = new java.io.StringWriter();
            String copy = "COPY (SELECT player, wins FROM totals WHERE wins > 5 ORDER BY player) TO STDOUT (FORMAT csv)";
            connection.unwrap(PGConnection.class).getCopyAPI().copyOut(copy, out);
            same(out, "\"\",7\no'hara,8\n", "COPY");
        }
    }

    static void cancel(Statement statement) {
        try {
            Thread.sleep(500);
            statement.cancel();
        } catch (InterruptedException | SQLException error) {
            throw new IllegalStateException(error);
        }
    }

    /** A reader of JSON: objects are maps, lists lists, numbers BigDecimal. */
    static class Json {
        final String text;
        int at = 0;

        Json(String text) {
            this.text = text;
        }

        char next() {
            while (Character.isWhitespace(text.charAt(at))) {
                at++;
            }
            return text.charAt(at);
        }

        boolean takes(char wanted) {
            boolean is = next() == wanted;
            at += is ? 1 : 0;
            return is;
        }

        Object word(String word, Object value) {
            holds(text.startsWith(word, at), "JSON at " + at);
            at += word.length();
            return value;
        }

        Object value() {
            return switch (next()) {
                case '{' -> members();
                case '[' -> items();
                case '"' -> string();
                case 't' -> word("true", true);
                case 'f' -> word("false", false);
                case 'n' -> word("null", null);
                default -> decimal();
            };
        }

        Map<String, Object> members() {
            Map<String, Object> read = new LinkedHashMap<>();
            at++;
            while (!takes('}')) {
                takes(',');
                next();
                String name = string();
                takes(':');
                read.put(name, value());
            }
            return read;
        }

        List<Object> items() {
            List<Object> read = new ArrayList<>();
            at++;
            while (!takes(']')) {
                takes(',');
                read.add(value());
            }
            return read;
        }

        BigDecimal decimal() {
            int from = at;
            while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            return new BigDecimal(text.substring(from, at));
        }

        String string() {
            StringBuilder read = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) {
                if (text.charAt(at) != '\\') {
                    read.append(text.charAt(at));
                    continue;
                }
                char letter = text.charAt(++at);
                switch (letter) {
                    case 'n' -> read.append('\n');
                    case 't' -> read.append('\t');
                    case 'r' -> read.append('\r');
                    case 'b' -> read.append('\b');
                    case 'f' -> read.append('\f');
                    case 'u' -> {
                        read.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                        at += 4;
                    }
                    default -> read.append(letter);
                }
            }
            at++;
            return read.toString();
        }
    }
}
