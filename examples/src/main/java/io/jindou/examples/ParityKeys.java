package io.jindou.examples;

import com.fasterxml.jackson.databind.JsonNode;
import io.jindou.KeyFunction;
import io.jindou.TableKeys;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/**
 * The parameter {@code keys} of embedding cases: for each table null, or how its ids choose rows,
 *
 * <pre>{"combine": "sum" or "concat", "functions": [{"kind": "row", "modulo", "quotient" or "hash", "first_row": 0, "num_rows": 0,
 * "divisor": (quotient), "seed": (hash)}]}</pre>
 */
final class ParityKeys {
    private ParityKeys() {}

    static List<TableKeys> of(ParityCase given, int tables) throws ParityCase.BadCase {
        JsonNode all = given.json("keys");
        if (all.isMissingNode() || all.isNull()) {
            return Collections.nCopies(tables, TableKeys.ROWS);
        }
        if (!all.isArray() || all.size() != tables) {
            throw given.wrongParam("keys", "expected " + tables + " values, one a table, got " + all);
        }
        List<TableKeys> keys = new ArrayList<>();
        for (int t = 0; t < tables; t++) {
            keys.add(all.get(t).isNull() ? TableKeys.ROWS : table(given, "keys[" + t + "]", all.get(t)));
        }
        return keys;
    }

    private static TableKeys table(ParityCase given, String name, JsonNode table) throws ParityCase.BadCase {
        checkNames(given, name, table, Set.of("combine", "functions"));
        String combine = table.path("combine").asText("sum");
        if (!combine.equals("sum") && !combine.equals("concat")) {
            throw given.wrongParam(name + ".combine", "expected sum or concat, got " + table.path("combine"));
        }
        List<KeyFunction> functions = new ArrayList<>();
        for (JsonNode function : table.path("functions")) {
            functions.add(function(given, name + ".functions[" + functions.size() + "]", function));
        }
        return new TableKeys(functions, combine.equals("concat"));
    }

    private static KeyFunction function(ParityCase given, String name, JsonNode function) throws ParityCase.BadCase {
        checkNames(given, name, function, Set.of("kind", "first_row", "num_rows", "divisor", "seed"));
        long first = integer(given, name, function, "first_row");
        long rows = integer(given, name, function, "num_rows");
        return switch (function.path("kind").asText()) {
            case "row" -> new KeyFunction.Row(first, rows);
            case "modulo" -> new KeyFunction.Modulo(first, rows);
            case "quotient" -> new KeyFunction.Quotient(integer(given, name, function, "divisor"), first, rows);
            case "hash" -> new KeyFunction.Hash(integer(given, name, function, "seed"), first, rows);
            default -> throw given.wrongParam(
                    name + ".kind", "expected row, modulo, quotient or hash, got " + function.path("kind"));
        };
    }

    private static long integer(ParityCase given, String name, JsonNode function, String field) throws ParityCase.BadCase {
        JsonNode value = function.path(field);
        if (value.isMissingNode()) {
            return 0;
        }
        if (!value.isIntegralNumber() || !value.canConvertToLong()) {
            throw given.wrongParam(name + "." + field, "expected an integer of 64 bits, got " + value);
        }
        return value.asLong();
    }

    private static void checkNames(ParityCase given, String name, JsonNode object, Set<String> known) throws ParityCase.BadCase {
        if (!object.isObject()) {
            throw given.wrongParam(name, "expected an object, got " + object);
        }
        Set<String> names = new TreeSet<>();
        object.fieldNames().forEachRemaining(names::add);
        names.removeAll(known);
        if (!names.isEmpty()) {
            throw given.wrongParam(name + "." + names.iterator().next(), "no such field; known: " + new TreeSet<>(known));
        }
    }
}
