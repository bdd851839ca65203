// Submits the file `message` by nodemailer: nodemailer_submit.cjs PORT starttls|tls MECHANISM
const fs = require("fs");
const nodemailer = require("nodemailer");

const [port, way, mechanism] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: Number(port),
  name: "client.test",
  secure: way === "tls",
  requireTLS: true,
  tls: { ca: fs.readFileSync("authority.pem"), servername: "mx.test" },
  auth: { user: "ann@mx.test", pass: "pencil" },
  authMethod: mechanism,
  logger: true,
  debug: true,
});
const message = {
  envelope: { from: "ann@mx.test", to: "bob@mx.test" },
  raw: fs.readFileSync("message"),
};
transport.sendMail(message).then((info) => console.log(info.response));
