// The service's API, as this page uses it.

const STORE = "msrn-token";
let askForToken = async () => "";

/** A refusal, in the service's own words. */
export class Refusal extends Error {
  constructor(problem, retryAfter = 0) {
    super(problem.detail);
    Object.assign(this, { code: problem.code, help: problem.help ?? "", status: problem.status ?? 0, retryAfter });
  }
}

/** Take the token from the address, where `msrn serve --open` puts it, and say who asks people for one. */
export function prepare(ask) {
  askForToken = ask;
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(STORE, given);
    history.replaceState(null, "", location.pathname);
  }
}

export async function request(path, options = {}) {
  const token = sessionStorage.getItem(STORE);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal({ code: "unreachable", detail: "The service cannot be reached.", help: "Is it still running? Start it again, and try again." });
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    const given = await askForToken();
    if (given) {
      sessionStorage.setItem(STORE, given);
      return request(path, options);
    }
  }
  const known = await answer.json().catch(() => ({ detail: `The service answered ${answer.status}.`, status: answer.status }));
  throw new Refusal(known, Number(answer.headers.get("Retry-After")) || 0);
}

export async function models() {
  return (await request("/v1/models")).json();
}

export async function begin(file, options, signal) {
  const headers = { "Content-Type": "application/octet-stream", "X-File-Name": encodeURIComponent(file.name) };
  const answer = await request(`/v1/jobs?${new URLSearchParams(options)}`, { method: "POST", headers, body: file, signal });
  return answer.json();
}

export async function forget(id) {
  await request(`/v1/jobs/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
}

export async function look(id, view) {
  const headers = { "Content-Type": "application/json" };
  await request(`/v1/jobs/${id}/view`, { method: "POST", headers, body: JSON.stringify(view) }).catch(() => {});
}

export async function blob(path) {
  return (await request(path)).blob();
}

/** What happens to a job, as [name, data], until it ends; a line that breaks is taken up again. */
export async function* events(id, signal) {
  let last = 0;
  for (let attempt = 0; attempt < 5; attempt++) {
    try {
      const answer = await request(`/v1/jobs/${id}/events`, { headers: { "Last-Event-ID": String(last) }, signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const parts = text.split("\n\n");
        text = parts.pop();
        for (const part of parts) {
          const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
          if (!fields.event) continue;
          last = Number(fields.id);
          attempt = 0;
          yield [fields.event, JSON.parse(fields.data)];
          if (["done", "failed", "cancelled"].includes(fields.event)) return;
        }
      }
    } catch (error) {
      if (error.name === "AbortError" || error instanceof Refusal) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 500 * (attempt + 1)));
  }
  throw new Refusal({ code: "unreachable", detail: "The service has stopped answering.", help: "Start it again, and try again." });
}
