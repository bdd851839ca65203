"""on_a_terminal.py PROGRAM ARGUMENT... -- ANSWER...: a program on a terminal, given the next answer whenever it asks
("... : "). Writes all that was shown, and ends with the program's status."""
import os, pty, sys

end = sys.argv.index("--")
words, answers = sys.argv[1:end], [answer.encode() + b"\n" for answer in sys.argv[end + 1:]]
pid, fd = pty.fork()
if pid == 0:
    os.execv(words[0], words)
shown = b""
while True:
    try:
        piece = os.read(fd, 1000)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    if answers and shown.endswith(b": "):
        os.write(fd, answers.pop(0))
status = os.waitpid(pid, 0)[1]
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(status))
