// Google's library for Java: credentials that are found by themselves, and a search with them.
import com.google.auth.oauth2.GoogleCredentials;
import java.net.HttpURLConnection;
import java.net.URI;
import java.util.Collections;

class Credentials {
  public static void main(String[] arguments) throws Exception {
    String asked = new String(System.in.readAllBytes());
    String store = asked.split("\"dicomweb\": \"")[1].split("\"")[0];
    GoogleCredentials credentials = GoogleCredentials.getApplicationDefault()
        .createScoped(Collections.singletonList("https://www.googleapis.com/auth/cloud-healthcare"));
    HttpURLConnection call =
        (HttpURLConnection) URI.create(store + "/studies").toURL().openConnection();
    credentials.getRequestMetadata(call.getURL().toURI())
        .forEach((name, values) -> call.setRequestProperty(name, values.get(0)));
    String kind = credentials.getClass().getSimpleName();
    System.out.printf("{\"kind\": \"%s\", \"status\": %d}%n", kind, call.getResponseCode());
  }
}
