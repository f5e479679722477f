// Node's own TLS through CONNECT: the fetch of Node 20 knows no proxy, that of 24 does with NODE_USE_ENV_PROXY.
import http from "node:http";
import https from "node:https";

const url = new URL(process.argv[2]);
const proxy = new URL(process.env.HTTPS_PROXY);
const connect = http.request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: `${url.hostname}:443` });
const fail = (error) => { console.error(String(error)); process.exit(1); };
connect.on("error", fail).on("connect", (answer, socket) => {
  if (answer.statusCode !== 200) fail(`CONNECT ${answer.statusCode}`);
  https.get({ socket, servername: url.hostname, host: url.hostname, path: url.pathname, agent: false }, (got) => {
    console.log(got.statusCode, got.headers["x-mesh-id"] ?? "None");
    got.resume().on("end", () => process.exit(0));
  }).on("error", fail);
}).end();
