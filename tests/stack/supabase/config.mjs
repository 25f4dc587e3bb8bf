// The Supabase-compatible server of the tests, on a PostgreSQL that the tests start. It answers in PostgREST's formats and
// with its error codes where the server by itself does not.
import { createPostgresConnection } from "@supabase/lite/postgres";

// Arguments of rpc() arrive as text already; without this they would be encoded a second time.
const json = { serialize: (value) => (typeof value === "string" ? value : JSON.stringify(value)), parse: JSON.parse };

const TIMESTAMP = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d)(:\d\d)?$/;
const iso = (text) => {
  const match = TIMESTAMP.exec(text);
  return match ? `${match[1]}T${match[2]}${match[3]}${match[4] ?? ":00"}` : text;
};

const connection = createPostgresConnection({
  url: process.env.SUPABASE_TEST_DATABASE,
  postgresOptions: {
    max: 5,
    connect_timeout: 3,
    onnotice: () => {},
    types: {
      json: { to: 114, from: [114], ...json },
      jsonb: { to: 3802, from: [3802], ...json },
      numeric: { to: 1700, from: [1700], serialize: String, parse: Number },
      timestamptz: { to: 1184, from: [1184], serialize: (text) => text, parse: iso },
    },
  },
});

const STATUS = { 23514: 400, "23P01": 400, P0001: 400, 40001: 500, "40P01": 500, 57014: 500, 54001: 500 };
const AWAY = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "ETIMEDOUT", "CONNECT_TIMEOUT", "57P01", "57P02", "57P03"]);
const isAway = (code) => AWAY.has(code) || /^(CONNECTION_|08)/.test(code);

const normalize = connection.normalizeDbError.bind(connection);
connection.normalizeDbError = (error) => {
  const known = normalize(error);
  const code = String(known?.code ?? known?.errors?.[0]?.code ?? "");
  const answer = (status, body) => ({
    code: "PGRST",
    message: JSON.stringify(body),
    detail: JSON.stringify({ status, headers: {} }),
  });
  if (isAway(code)) {
    const message = "Database connection error. Retrying the connection.";
    return answer(503, { code: "PGRST001", message, details: String(known.message), hint: null });
  }
  if (code in STATUS) {
    const { message, detail, hint } = known;
    return answer(STATUS[code], { code, message, details: detail ?? null, hint: hint ?? null });
  }
  return known;
};

export default {
  api: { port: Number(process.env.SUPABASE_TEST_PORT), max_rows: 1000, schemas: ["public"] },
  db: { seed: { enabled: false } },
  auth: {
    enabled: false,
    publishable_key: process.env.SUPABASE_TEST_PUBLISHABLE_KEY,
    secret_key: process.env.SUPABASE_TEST_SECRET_KEY,
  },
  connection,
};
