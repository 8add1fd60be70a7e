// Runs a file of Flink SQL as one job in this process: Flink.java FILE. Its SETs configure the local cluster.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

public final class Flink {
    private static final Pattern SET = Pattern.compile("SET '([^']*)' = '([^']*)'");

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
        for (String statement : statements) {
            if (statement.startsWith("INSERT")) {
                inserts.addInsertSql(statement);
            } else {
                tables.executeSql(statement);
            }
        }
        if (arguments.length > 1 && arguments[1].equals("--explain")) {
            System.out.println(inserts.explain());
            return;
        }
        inserts.execute().await();
    }
}
