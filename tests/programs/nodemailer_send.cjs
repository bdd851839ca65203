// Sends by nodemailer, which NODE_PATH leads to: nodemailer_send.cjs PORT SUBJECT TEXT ATTACHMENT
const fs = require("fs");
const nodemailer = require("nodemailer");

const [port, subject, text, attachment] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: Number(port),
  name: "client.test",
  ignoreTLS: true,
});
const message = {
  from: "sender@client.test",
  to: "ann@mx.test",
  subject,
  text: fs.readFileSync(text, "utf8"),
  attachments: [{ filename: "octets.bin", path: attachment }],
};
transport.sendMail(message).then((info) => console.log(info.response));
